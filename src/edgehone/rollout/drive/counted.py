"""What servers have answered between two looks at their /metrics, as outcomes for the judge.

Histograms tell a time by the bounds around it; the upper one is taken. Both versions have the same bounds and are
compared with the same limit, so that is only a coarser comparison. The order of requests between two looks is not
known: they are shuffled, which changes nothing for requests that are exchangeable.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgehone.monitor.exposition import samples
from edgehone.rollout.decision.outcome import Outcome

_FAILED = ("engine", "late", "full")
_METRICS = {
    "edgehone_request_seconds_bucket", "edgehone_request_seconds_count", "edgehone_failures_total",
    "edgehone_confidence_entropy_bucket", "edgehone_feedback_total", "edgehone_labels_total",
    "edgehone_resident_memory_bytes",
}  # fmt: skip
# What the upper bound of a time's last bucket, which has none, counts as.
_BEYOND = 1e6
Counts = Mapping[tuple[str, str], float]  # by metric and label


@dataclass
class Counter:
    """The counters of one server, and what they say between two looks."""

    model: str
    before: Counts | None = None
    memory: float | None = None
    unanswered: int | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    def look(self, text: str, unanswered: int) -> None:
        """Take /metrics, and how many requests HAProxy got no answer to. Raises ValueError for other text."""
        now = _read(text, self.model)
        self.memory = now.get(("edgehone_resident_memory_bytes", "engine"))
        if self.before is not None:
            # A counter that is lower began again at 0.
            new = {key: value - (self.before.get(key, 0.0) if value >= self.before.get(key, 0.0) else 0.0)
                   for key, value in now.items()}  # fmt: skip
            lost = max(0, unanswered - (self.unanswered or 0))
            self.outcomes += list(_outcomes(new, lost))
        self.before, self.unanswered = now, unanswered


def shuffled(
    champion: list[Counter], challenger: list[Counter], rng: random.Random
) -> list[tuple[bool, Outcome]]:
    """Return what was answered since the last time, by whether the challenger did, in a random order."""
    found = [
        (arm, outcome) for arm, counters in ((False, champion), (True, challenger))
        for one in counters for outcome in one.outcomes
    ]  # fmt: skip
    for one in (*champion, *challenger):
        one.outcomes = []
    rng.shuffle(found)
    return found


def _read(text: str, model: str) -> Counts:
    found: dict[tuple[str, str], float] = {}
    for metric, labels, value in samples(text, _METRICS):
        given = dict(labels)
        if given.get("model") == model:
            label = next(
                (given[name] for name in ("le", "reason", "verdict", "correct", "part") if name in given), ""
            )
            found[metric, label] = found.get((metric, label), 0.0) + value
    return found


def _outcomes(new: Counts, lost: int) -> Iterator[Outcome]:
    for bound, count in _by_bucket(new, "edgehone_request_seconds_bucket"):
        yield from [Outcome(False, min(bound, _BEYOND))] * count
    failed = int(sum(new.get(("edgehone_failures_total", reason), 0.0) for reason in _FAILED)) + lost
    yield from [Outcome(True)] * failed
    for bound, count in _by_bucket(new, "edgehone_confidence_entropy_bucket"):
        yield from [Outcome(entropy=min(bound, 1.0))] * count
    for metric, good, bad in (("feedback", "good", "bad"), ("labels", "true", "false")):
        for label, value in ((good, 0.0), (bad, 1.0)):
            yield from [Outcome(bad=value)] * int(new.get((f"edgehone_{metric}_total", label), 0.0))


def _by_bucket(new: Counts, metric: str) -> Iterator[tuple[float, int]]:
    """Yield the upper bound of each bucket, and how many values are in it."""
    bounds = sorted((float(label), value) for (name, label), value in new.items() if name == metric)
    before = 0.0
    for bound, value in bounds:
        yield bound, int(max(0.0, value - before))
        before = value
