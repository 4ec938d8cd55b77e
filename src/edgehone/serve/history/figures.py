"""Figures of the time between two readings of a server's metrics: rates, quantiles, and gauges as they are.

A counter becomes its rate per second, a histogram its quantiles and the rate of its observations, a gauge its value.
Both the history and `edgehone monitor` reduce metrics by this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from edgehone.serve.measured.quantile import interpolated

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Labels = tuple[tuple[str, str], ...]  # sorted by name
Key = tuple[str, Labels]  # a metric with its labels
Buckets = dict[float, float]  # cumulative counts by upper bounds

# Quantiles that show problems: high ones of times, low ones of a margin (between the two largest probabilities).
_QUANTILES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_LOW: Mapping[str, float] = {"p5": 0.05, "p50": 0.5}
_QUANTILES_OF: Mapping[str, Mapping[str, float]] = {"edgehone_confidence_margin": _LOW}


class Series(NamedTuple):
    """Source of a figure. `stat` is value (of a gauge), rate (per second), or p5, p50, p95, p99 (of a histogram)."""

    metric: str
    stat: str
    labels: Labels


@dataclass(frozen=True)
class Reading:
    """All metrics at a moment, in seconds on a clock that never jumps."""

    at: float
    gauges: dict[Key, float] = field(default_factory=dict)
    counters: dict[Key, float] = field(default_factory=dict)
    histograms: dict[Key, Buckets] = field(default_factory=dict)

    def put(self, kind: str, metric: str, labels: Mapping[str, str], value: float) -> None:
        """Add a sample as the text format has it: of a counter (…_total), gauge, or bucket of a histogram."""
        if kind == "gauge":
            self.gauges[metric, tuple(sorted(labels.items()))] = value
        elif kind == "counter" and metric.endswith("_total"):
            self.counters[metric, tuple(sorted(labels.items()))] = value
        elif kind == "histogram" and metric.endswith("_bucket"):
            rest = tuple(sorted((name, text) for name, text in labels.items() if name != "le"))
            bounds = self.histograms.setdefault((metric.removesuffix("_bucket"), rest), {})
            bounds[float(labels["le"])] = value


def reading_of(metrics: Iterable[Metric], at: float) -> Reading:
    """Return a reading of the collectors."""
    found = Reading(at)
    for metric in metrics:
        for sample in metric.samples:
            found.put(metric.type, sample.name, sample.labels, sample.value)
    return found


def figures(before: Reading, now: Reading) -> dict[Series, float]:
    """Return the figures between two readings. Undefined ones, such as a quantile without values, are left out."""
    seconds = now.at - before.at
    found = {Series(metric, "value", labels): value for (metric, labels), value in now.gauges.items()}
    if seconds > 0:
        found.update(_rates(before, now, seconds))
        for key, buckets in now.histograms.items():
            found.update(_of_histogram(key, before.histograms.get(key, {}), buckets, seconds))
    return {series: value for series, value in found.items() if math.isfinite(value)}


def _rates(before: Reading, now: Reading, seconds: float) -> Iterable[tuple[Series, float]]:
    for key, value in now.counters.items():
        yield Series(key[0], "rate", key[1]), grown(before.counters.get(key, 0.0), value) / seconds


def grown(before: float, now: float) -> float:
    """Return how much a counter grew. One that is lower than before began again at 0."""
    return now if now < before else now - before


def _of_histogram(key: Key, before: Buckets, now: Buckets, seconds: float) -> Iterable[tuple[Series, float]]:
    metric, labels = key
    began_again = now.get(math.inf, 0.0) < before.get(math.inf, 0.0)
    past = {} if began_again else before
    counts = [(bound, count - past.get(bound, 0.0)) for bound, count in sorted(now.items())]
    total = counts[-1][1] if counts else 0.0
    yield Series(metric, "rate", labels), total / seconds
    if total:
        for stat, q in _QUANTILES_OF.get(metric, _QUANTILES).items():
            yield Series(metric, stat, labels), interpolated(q, counts)


class Interval:
    """An interval of the history that is filled by readings: gauges become their means over it."""

    def __init__(self, begun: Reading) -> None:
        self._begun = self._last = begun
        self._sums: dict[Key, float] = {}
        self._counts: dict[Key, int] = {}

    def add(self, reading: Reading) -> None:
        """Add a reading."""
        self._last = reading
        for key, value in reading.gauges.items():
            self._sums[key] = self._sums.get(key, 0.0) + value
            self._counts[key] = self._counts.get(key, 0) + 1

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self._last.at - self._begun.at

    def figures(self) -> dict[Series, float]:
        """Return the figures of the interval."""
        means = {key: total / self._counts[key] for key, total in self._sums.items()}
        last = self._last
        return figures(self._begun, Reading(last.at, means, last.counters, last.histograms))
