"""How many requests are let in while more come than an engine can answer.

An engine answers several requests at once, each the slower the more there are: one takes `a + b * n` seconds with n of
them running. A few are enough for most of the throughput, n / (a + b * n), whose form depends on k = a / b alone.
Further ones wait for each other, and as long as more requests come than are answered, they do so all the time. So the
more of the requests that come are refused, the fewer are let in: down to as many as take 1.25 times as long as requests
at 80 % of the throughput of all places, but not to less than half the places. Without refusals all places and the queue
are used.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

# Past the capacity a request may take so many times as long as at this share of the capacity. The goal is 1.5 times for
# the slowest hundredth; the rest of it is for the time until refusals are noticed (benchmarks/serving/shedding.py).
_SLOWER, _SHARE = 1.25, 0.8
# Refusals are counted over so many times as long as a request takes, but at least so many seconds.
_REQUESTS, _SECONDS = 4.0, 1.0
# With this share of refused requests, as few are let in as ever; with less than this part of it, all.
_REFUSED, _FEW = 0.3, 0.02
# Of the times of requests beside so many others this quantile is followed, each time by this share of itself: those of
# a machine that is slow for a while, when more run than usual, are above it.
_QUANTILE, _STEP = 0.25, 0.1
# A number of others counts as known after so many answers, and by at most so many in comparison with other numbers.
_KNOWN, _COUNTED = 10, 50
# The most that an engine is believed to gain, k for each place: a little more than one that is never full.
_MOST = 4.0


def fewest(k: float, places: int) -> float:
    """Return how many requests take `_SLOWER` times as long as at `_SHARE` of the throughput of so many places.

    With n running, the throughput is n / (n + k) and the time of a request n + k, in units that do not matter here. So
    the time at the throughput x is k / (1 - x). Of m requests, more than there are places, one takes m / places times
    as long as one of those in the places, waiting included.
    """
    x = _SHARE * places / (places + k)
    longest = _SLOWER * k / (1 - x)
    return longest - k if longest - k <= places else longest * places / (places + k)


class Shedding:
    """The most requests that may run and wait, for an engine with so many places."""

    def __init__(self, places: int, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`most` is the number without refusals."""
        self._places, self._most, self._clock = places, most, clock
        self._came = self._refused = 0.0  # requests lately
        self._last = clock()
        # Of the requests beside n - 1 others: how many there were, and the quantile of their times.
        self._counts, self._times = [0] * (places + 1), [0.0] * (places + 1)
        self._mean = 0.0  # seconds of a request lately

    @property
    def most(self) -> int:
        """How many may run and wait now."""
        # As many as have places are added, so that one refusal after an idle time is no sign of more.
        share = min(1.0, self._refused / (self._came + self._most) / _REFUSED)
        if share < _FEW:
            return self._most
        return round(self._most - (self._most - self._least()) * share)

    def came(self, *, refused: bool) -> None:
        """Count a request."""
        now = self._clock()
        kept = math.exp((self._last - now) / max(_SECONDS, _REQUESTS * self._mean))
        self._last = now
        self._came, self._refused = self._came * kept + 1, self._refused * kept + refused

    def answered(self, running: float, seconds: float) -> None:
        """Take the time of a request, and how many were running meanwhile, on the average."""
        self._mean += 0.1 * (seconds - self._mean)
        at = min(max(round(running), 1), self._places)
        self._counts[at] += 1
        if self._counts[at] == 1:
            self._times[at] = seconds
        self._times[at] *= 1 + _STEP * (_QUANTILE if seconds > self._times[at] else _QUANTILE - 1)

    def _least(self) -> int:
        few = int(fewest(self._gain(), self._places))
        return min(self._most, max(few, math.ceil(self._places / 2)))

    def _gain(self) -> float:
        """Return k, by least squares over the times that are known."""
        known = [
            (n, self._times[n], min(count, _COUNTED))
            for n, count in enumerate(self._counts)
            if count >= _KNOWN
        ]
        most = _MOST * self._places
        if len(known) < 2:
            return most
        total = sum(weight for *_, weight in known)
        mean_n = sum(n * weight for n, _, weight in known) / total
        mean = sum(time * weight for _, time, weight in known) / total
        slope = sum((n - mean_n) * (time - mean) * weight for n, time, weight in known)
        slope /= sum((n - mean_n) ** 2 * weight for n, _, weight in known)
        return most if slope <= 0 else min(max(mean / slope - mean_n, 0.0), most)
