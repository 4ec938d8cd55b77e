"""How many requests are let in while more come than an engine can answer.

An engine answers several requests at once, each the slower the more there are: one takes `a + b * n` seconds with n of
them running. A few are enough for most of the throughput, n / (a + b * n), whose form depends on k = a / b alone.
Further ones wait for each other, and as long as more requests come than are answered, they do so all the time. So the
more of the requests that come are refused, the fewer are let in: down to as many as take 1.4 times as long as requests
at 80 % of the throughput of all places. Without refusals all places and the queue are used.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

# Past the capacity a request may take so many times as long as at this share of the capacity. The goal is 1.5 times.
_SLOWER, _SHARE = 1.4, 0.8
# Refusals are counted over so many times as long as a request takes, but at least so many seconds.
_REQUESTS, _SECONDS = 4.0, 1.0
# With this share of refused requests, as few are let in as ever.
_REFUSED = 0.3
# Answers over which `a` and `b` are estimated, and the least variance of n that tells them apart.
_ANSWERS, _SPREAD = 100, 0.5
# The least k that is believed: an engine of one processor has about this much to gain.
_LEAST = 0.5


def fewest(k: float, places: int) -> float:
    """Return how many requests take `_SLOWER` times as long as at `_SHARE` of the throughput of so many places.

    With n running, the throughput is n / (k + n) and the time of a request n + k, in units that do not matter here. So
    the time at the throughput x is k / (1 - x).
    """
    x = _SHARE * places / (places + k)
    return _SLOWER * k / (1 - x) - k


class Shedding:
    """The most requests that may run and wait, for an engine with so many places."""

    def __init__(self, places: int, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`most` is the number without refusals."""
        self._places, self._most, self._clock = places, most, clock
        self._came = self._refused = 0.0  # requests lately
        self._last = clock()
        # Means over the last answers, with which nothing is shed until more is known.
        self._k = float(places)
        self._n, self._seconds, self._n_n, self._n_seconds = 0.0, 0.0, 0.0, 0.0
        self._answers = 0

    @property
    def most(self) -> int:
        """How many may run and wait now."""
        # As many as have places are added, so that one refusal after an idle time is no sign of more.
        share = self._refused / (self._came + self._most)
        least = min(self._most, max(1.0, fewest(self._k, self._places)))
        return round(self._most - (self._most - least) * min(1.0, share / _REFUSED))

    def came(self, *, refused: bool) -> None:
        """Count a request."""
        now = self._clock()
        kept = math.exp((self._last - now) / max(_SECONDS, _REQUESTS * self._seconds))
        self._last = now
        self._came, self._refused = self._came * kept + 1, self._refused * kept + refused

    def answered(self, running: float, seconds: float) -> None:
        """Take the time of a request, and how many were running meanwhile, on the average."""
        self._answers = min(self._answers + 1, _ANSWERS)
        part = 1 / self._answers
        self._n += part * (running - self._n)
        self._seconds += part * (seconds - self._seconds)
        self._n_n += part * (running * running - self._n_n)
        self._n_seconds += part * (running * seconds - self._n_seconds)
        spread = self._n_n - self._n * self._n
        if self._answers < _ANSWERS or spread < _SPREAD:
            return
        slope = (self._n_seconds - self._n * self._seconds) / spread
        if slope > 0:
            self._k = min(max(self._seconds / slope - self._n, _LEAST), float(self._places))
        else:  # a request is no slower beside others
            self._k = float(self._places)
