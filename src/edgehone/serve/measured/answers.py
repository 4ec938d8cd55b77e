"""Counts of failed requests, of the confidence of answers, and of clients' feedback, by model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from edgehone.serve.measured.histogram import Histogram, family
from edgehone.serve.observation import Feedback, Observation

if TYPE_CHECKING:
    from edgehone.serve.model import Model

# Shares of the largest entropy, margins and scores are in [0, 1].
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
_REASONS = {429: "full", 504: "late"}


class Answers(Collector):
    """An observer and its metrics.

    Failures, verdicts and labels of `models` are told as 0 before the first: Prometheus sees a counter grow only from a
    value that it knows.
    """

    def __init__(self, models: Iterable[Model] = ()) -> None:
        self._models = models
        self._failures: Counter[tuple[str, str]] = Counter()
        self._verdicts: Counter[tuple[str, str]] = Counter()
        self._labels: Counter[tuple[str, str]] = Counter()
        new = partial(Histogram, _SHARES)
        self._entropies: defaultdict[str, Histogram] = defaultdict(new)
        self._margins: defaultdict[str, Histogram] = defaultdict(new)
        self._scores: defaultdict[str, Histogram] = defaultdict(new)

    def observe(self, seen: Observation) -> None:
        """Count a request."""
        if reason := reason_of(seen.status):
            self._failures[seen.model, reason] += 1
        if seen.entropy is not None:
            self._entropies[seen.model].observe(seen.entropy)
        if seen.margin is not None:
            self._margins[seen.model].observe(seen.margin)

    def feedback(self, seen: Feedback) -> None:
        """Count a client's feedback on an answer."""
        if seen.verdict is not None:
            self._verdicts[seen.model, seen.verdict] += 1
        if seen.correct is not None:
            self._labels[seen.model, str(seen.correct).lower()] += 1
        if seen.score is not None:
            self._scores[seen.model].observe(seen.score)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        counted = (
            (
                "edgehone_failures",
                "Requests to a model that failed: engine (it failed), late (longest time), full (queue), "
                "invalid (the client's own fault).",
                "reason",
                ("engine", "late", "full", "invalid"),
                self._failures,
            ),
            (
                "edgehone_feedback",
                "Answers that clients called good or bad.",
                "verdict",
                ("good", "bad"),
                self._verdicts,
            ),
            (
                "edgehone_labels",
                "Labels that clients sent of a classifier's answers, by whether it had answered that class.",
                "correct",
                ("true", "false"),
                self._labels,
            ),
        )
        names = [model.name for model in self._models]
        for name, text, label, values, counts in counted:
            found = CounterMetricFamily(name, text, labels=["model", label])
            none = {(model, value): 0 for model in names for value in values}
            for labels, count in {**none, **counts}.items():
                found.add_metric(labels, count)
            yield found
        yield family(
            "edgehone_confidence_entropy",
            "Mean entropy of an answer, as a share of the largest: 0 sure, 1 no idea.",
            self._entropies,
        )
        yield family(
            "edgehone_confidence_margin",
            "Mean difference of the two largest probabilities of an answer.",
            self._margins,
        )
        yield family(
            "edgehone_feedback_score", "Scores from 0 to 1 that clients gave to answers.", self._scores
        )


def reason_of(status: int) -> str | None:
    """Return why a request with this status failed; None for one that was answered, or whose client has left."""
    if status < 400 or status == 499:
        return None
    return _REASONS.get(status, "engine" if status >= 500 else "invalid")
