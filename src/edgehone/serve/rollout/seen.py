"""What is seen of both versions of a rollout, as values for the judge: outcomes of copies, feedback, memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import psutil

from edgehone.rollout.decision.memory import MemorySample
from edgehone.rollout.decision.outcome import Outcome, outcome_of
from edgehone.serve.measured.processes import read_processes
from edgehone.serve.observation import Feedback
from edgehone.serve.record import Record
from edgehone.serve.rollout.compare import disagreement
from edgehone.serve.rollout.copies import Exchange

# Answers that are remembered for feedback.
_REMEMBERED = 20_000


class Answered:
    """Which version gave each of the last answers, by the id of the answer, so that feedback can be assigned."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, bool] = OrderedDict()

    def add(self, number: str, challenger: bool) -> None:
        """Remember an answer, and forget the oldest one beyond the limit."""
        self._by_id[number] = challenger
        if len(self._by_id) > _REMEMBERED:
            self._by_id.popitem(last=False)

    def challenger(self, number: str) -> bool | None:
        """Return True for an answer of the challenger, False for one of the champion, None for an unknown one."""
        return self._by_id.get(number)


def badness(seen: Feedback) -> float | None:
    """Return how bad the feedback calls an answer, from 0 to 1; None if it does not say."""
    if seen.correct is not None:
        return float(not seen.correct)
    if seen.verdict is not None:
        return float(seen.verdict == "bad")
    return None if seen.score is None else 1 - seen.score


def outcomes_of_copy(exchange: Exchange, copy: Record, answer: bytes) -> tuple[Outcome, Outcome] | None:
    """Return the champion's and the challenger's outcome of a request that the challenger was sent a copy of.

    None if the request failed by the client's own fault.
    """
    first, second = (outcome_of(one.status, one.seconds, one.entropy) for one in (exchange.record, copy))
    if first is None:
        return None
    if second is None:  # the challenger refuses what the champion answers
        return first, Outcome(failed=True)
    if not first.failed and not second.failed:
        asked = str(exchange.scope["path"])
        classes = exchange.record.classes, copy.classes
        difference = disagreement(asked, exchange.body, exchange.answer, answer, classes)
        second = Outcome(second.failed, second.seconds, second.entropy, difference)
    return first, second


def memory_sample(champion: Sequence[int], challenger: Sequence[int]) -> MemorySample:
    """Return the memory of both engines, given by the ids of their processes, and what the machine has left."""
    taken = [
        sum(one.resident_bytes for one in read_processes([("engine", "", ids)])) or None
        for ids in (champion, challenger)
    ]
    return MemorySample(taken[0], taken[1], float(psutil.virtual_memory().available))
