"""A histogram for Prometheus that costs well under a microsecond a value: it is only changed by the event loop."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import HistogramMetricFamily


class Histogram:
    """Counts of values up to each of some bounds, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add it to a family of metrics under these labels."""
        family.add_metric(labels, list(self._buckets()), self._sum)

    def _buckets(self) -> Iterable[tuple[str, float]]:
        total = 0
        for bound, count in zip((*map(str, map(float, self._bounds)), "+Inf"), self._counts, strict=True):
            total += count
            yield bound, total


def family(name: str, text: str, by_model: Mapping[str, Histogram]) -> HistogramMetricFamily:
    """Return the histograms of models as a family of metrics."""
    found = HistogramMetricFamily(name, text, labels=["model"])
    for model, one in by_model.items():
        one.add_to(found, [model])
    return found
