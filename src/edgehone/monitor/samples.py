"""The samples of one series over time, and what Prometheus' functions make of them.

`increase` and `rate` extrapolate to the ends of the window as Prometheus does (promql/functions.go, extrapolatedRate),
so that rules and this package agree.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

# Samples that are older than this are kept once a minute only: they are needed for windows of hours and days.
DENSE_S, SPARSE_S = 7200.0, 60.0


class Samples:
    """Values with their times, which rise, of a counter or a gauge. Those older than `kept_s` are dropped."""

    def __init__(self, kept_s: float) -> None:
        self._kept = kept_s
        self._times: list[float] = []
        self._values: list[float] = []
        self._grown: list[float] = []  # how much the counter grew since the first sample, whatever its resets
        self._tidied = 0.0

    def add(self, at: float, value: float) -> None:
        """Add a sample. A counter that is lower than before began again at 0.

        A second one at the same time, of a scrape that tells a series twice, is left out, as Prometheus does.
        """
        grown = 0.0
        if self._values:
            if at <= self._times[-1]:
                return
            before = self._values[-1]
            grown = self._grown[-1] + (value if value < before else value - before)
        self._times.append(at)
        self._values.append(value)
        self._grown.append(grown)
        if at - self._tidied > max(SPARSE_S, self._kept / 10):
            self._tidy(at)

    @property
    def last(self) -> tuple[float, float]:
        """Time and value of the last sample."""
        return self._times[-1], self._values[-1]

    def least(self, at: float, window_s: float) -> float | None:
        """Return the lowest value in the window that ends now; None if there is none in it."""
        first, end = self._within(at, window_s)
        return min(self._values[first:end], default=None)

    def increase(self, at: float, window_s: float) -> float | None:
        """Return how much a counter grew in the window; None with fewer than two samples in it."""
        first, end = self._within(at, window_s)
        if end - first < 2:
            return None
        begun, ended = self._times[first], self._times[end - 1]
        grown, sampled = self._grown[end - 1] - self._grown[first], ended - begun
        between = sampled / (end - first - 1)
        to_start, to_end = begun - (at - window_s), at - ended
        if grown > 0 and self._values[first] >= 0:
            to_start = min(
                to_start, sampled * self._values[first] / grown
            )  # a counter is not extrapolated below 0
        reach = sampled
        for gap in (to_start, to_end):
            reach += gap if gap < 1.1 * between else between / 2
        return grown * reach / sampled

    def _within(self, at: float, window_s: float) -> tuple[int, int]:
        return bisect_left(self._times, at - window_s), bisect_right(self._times, at)

    def _tidy(self, at: float) -> None:
        self._tidied = at
        kept, last = list[int](), float("-inf")
        for index, time in enumerate(self._times):
            if time < at - self._kept:
                continue
            if time < at - DENSE_S and time - last < SPARSE_S:
                continue
            kept.append(index)
            last = time
        if len(kept) < len(self._times):
            self._times = [self._times[one] for one in kept]
            self._values = [self._values[one] for one in kept]
            self._grown = [self._grown[one] for one in kept]
