"""The answers that were given lately, so that a client can say afterwards whether they were good."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from edgehone.serve.observation import Feedback, Observation, Verdict

# How many answers are remembered, and for how many seconds: about 5 MB, and a day in which a person may look at them.
MOST, SECONDS = 20_000, 86_400.0


class Unknown(Exception):
    """No answer with this identifier is remembered."""


class Repeated(Exception):
    """Repeated feedback: `what` was given for this answer before."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Answer(msgspec.Struct):
    """An answer: its model, the classes of a classifier, when it was given, and what was said of it."""

    model: str
    classes: Sequence[int] | None
    at: float
    said: set[str] | None = None


class Recent:
    """An observer that remembers answers by their identifiers, at most `MOST` and for `SECONDS`."""

    def __init__(
        self, most: int = MOST, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # Not the wall clock, which may be set.
        self._most, self._seconds, self._clock = most, seconds, clock
        self._answers: dict[str, Answer] = {}  # in the order in which they were given

    def observe(self, seen: Observation) -> None:
        """Remember an answer. One with an identifier that was used before replaces that one."""
        if seen.status != 200 or not seen.id:
            return
        self._answers.pop(seen.id, None)
        self._answers[seen.id] = Answer(seen.model, seen.classes, self._clock())
        if len(self._answers) > self._most:
            del self._answers[next(iter(self._answers))]

    def feedback(self, seen: Feedback) -> None:
        """What was said is noted by `say`."""

    def find(self, number: str) -> Answer:
        """Return an answer. Raises Unknown if it is not remembered any more."""
        answer = self._answers.get(number)
        if answer is None or self._clock() - answer.at > self._seconds:
            self._answers.pop(number, None)
            raise Unknown
        return answer


def say(
    number: str,
    answer: Answer,
    verdict: Verdict | None,
    labels: Sequence[int] | None,
    score: float | None,
) -> list[Feedback]:
    """Return what is said of an answer, for each sample with a label, and note it.

    `labels` are as many as the answer has classes. Raises Repeated if the same was said before, so that one client
    cannot count for many.
    """
    given = {"verdict": verdict, "label": labels, "score": score}
    now = {name for name, value in given.items() if value is not None}
    if again := now & (answer.said or set()):
        raise Repeated(", ".join(sorted(again)))
    answer.said = now | (answer.said or set())
    first = Feedback(id=number, model=answer.model, verdict=verdict, score=score)
    if labels is None:
        return [first]
    classes = answer.classes or ()
    found = [
        Feedback(id=number, model=answer.model, label=label, correct=label == one)
        for label, one in zip(labels, classes, strict=True)
    ]
    return found if verdict is None and score is None else [first, *found]
