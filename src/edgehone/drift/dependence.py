"""How much slower information comes in because successive requests resemble each other.

Requests come in bursts: one user asks ten long questions, one slow minute delays fifty answers. The mean of a batch
then varies more than that of independent requests, and a test that takes each request as new evidence raises false
alarms. `Inflation` estimates by how much: the variance of means over 32 and over 128 requests, relative to
independent ones, from differences of successive means (von Neumann, Annals of Mathematical Statistics 12, 1941), so
that a lasting change does not count as variation. The means are of p, of its distance from the middle and of its
upper tail; the largest inflation counts. Bets are taken to the power 1/inflation (bets.py). Since the estimate uses
only earlier requests and is at least 1, the test of exchangeable requests remains exactly valid.

Evaluation samples do not tell how traffic comes. Until 16 batches were seen in the order of traffic, in the reference
or by the watch, an inflation of at least 4 is assumed, and until 48 the estimate is raised by its standard error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgehone.core.arrays import Array, np

# The estimate begins with so many batches of independent requests.
_PRIOR = 2.0
# A jump of the mean counts at most so many times the variation seen so far: it is a change, not variation.
_MOST = 6.0
# An estimate below 1 + _SURE standard errors is taken for 1, else it is raised by half a standard error.
_SURE = 3.5
# While fewer than SETTLED batches have been seen in the order of traffic, this is the least inflation; while fewer than
# KNOWN, the estimate at 32 requests is raised by its standard error.
SETTLED, KNOWN = 16, 48
_UNSETTLED = 4.0
_LONG = 4
_CLEARLY = 1.25
# Once so many stretches are counted, all of them count half from then on, so that the estimate follows the traffic.
_MEMORY = 256
_TAIL = 0.05
# Requests of a stretch in the search for slow variation.
_STRETCH = 256


class Inflation:
    """The variance inflation of each value. Arrays over (2 lengths, 3 statistics of each value)."""

    def __init__(self, values: int) -> None:
        size = 3 * values
        self.sums = np.full((2, size), _PRIOR)
        self.numbers = np.full((2, size), _PRIOR)
        self.last = np.full((2, size), np.nan)
        self.collected = np.zeros((2, size))  # sum of p-values and their number in the running longer stretch
        self.batches = 0

    def observe(self, p: Array, clip: bool = True) -> None:
        """Add the p-values of a batch, (values, requests), NaN where not known."""
        statistics, number = _statistics(p), np.array([p.shape[1]] * len(p))
        if not (known := p == p).all():  # noqa: PLR0124 - NaN differs from itself
            statistics, number = np.where(known, statistics, 0.0), known.sum(1)
        total, number = np.add.reduce(statistics, axis=2).ravel(), np.concatenate([number] * 3)
        self._add(0, total, number, p.shape[1], clip)
        self.collected[0] += total
        self.collected[1] += number
        self.batches += 1
        if self.batches % _LONG == 0:
            self._add(1, self.collected[0], self.collected[1], _LONG * p.shape[1], clip)
            self.collected[:] = 0

    def end(self) -> None:
        """Forget the last batch, which the next one does not follow; it begins a stretch of 128 requests."""
        self.last[:] = np.nan
        self.collected[:] = 0
        self.batches -= self.batches % _LONG

    def factor(self) -> Array:
        """Return the estimate of each value, at least 1."""
        ratio = self.sums / self.numbers
        error = np.sqrt(3 / self.numbers)  # relative; of squared differences of successive normal means
        # What grows clearly from 32 to 128 requests grows beyond: by about the same factor again.
        growth = np.minimum(np.maximum(ratio[1] / np.maximum(ratio[0], 1) / _CLEARLY, 1), _LONG)
        raised = ratio * (1 + error / 2)
        raised[1] *= growth
        raised[ratio <= 1 + _SURE * error] = 1.0
        if self.batches < KNOWN:
            raised[0] = np.maximum(raised[0], ratio[0] * (1 + error[0]))
        most = raised.max(0).reshape(3, -1).max(0)
        return np.asarray(most if self.batches >= SETTLED else np.maximum(most, _UNSETTLED))

    def _add(self, scale: int, total: Array, number: Array, size: int, clip: bool) -> None:
        enough = number * 2 >= size
        mean = np.where(enough, total / np.maximum(number, 1), np.nan)
        term = (mean - self.last[scale]) ** 2 / 2 * number
        if clip:
            term = np.minimum(term, _MOST * np.maximum(self.sums[scale] / self.numbers[scale], 1))
        some = ~np.isnan(term)
        self.sums[scale] += np.where(some, term, 0.0)
        self.numbers[scale] += some
        np.copyto(self.last[scale], mean, where=enough)
        full = self.numbers[scale] >= _MEMORY
        if full.any():
            self.sums[scale][full] /= 2
            self.numbers[scale][full] /= 2

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON data."""
        return {
            "sums": self.sums.tolist(),
            "numbers": self.numbers.tolist(),
            "last": [[None if np.isnan(one) else one for one in row] for row in self.last.tolist()],
            "collected": self.collected.tolist(),
            "batches": self.batches,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Inflation:
        """Read what `to_json` returned."""
        read = cls(len(data["sums"][0]) // 3)
        for name in ("sums", "numbers", "last", "collected"):
            setattr(read, name, np.array(data[name], np.float64))
        read.batches = int(data["batches"])
        return read


def _statistics(p: Array) -> Array:
    """Return statistics of p-values that have mean 0 and variance 1 under the null, (3, values, requests)."""
    found = np.empty((3, *p.shape))
    np.subtract(p, 0.5, out=found[0])
    np.subtract(np.abs(2 * p - 1), 0.5, out=found[1])
    found[:2] *= math.sqrt(12)
    np.subtract(p > 1 - _TAIL, _TAIL, out=found[2])
    found[2] /= math.sqrt(_TAIL * (1 - _TAIL))
    return found


def slow_variation(uniform: Array, inflation: Array) -> Array:
    """Return how far the mean rank swings slowly in a reference, from ranks (values, samples); 0 where not known.

    Means over 256 samples vary more than bursts explain if traffic has cycles. 1.5 standard deviations of the rest
    cover the amplitude of a sine wave. At least 8 such stretches are needed.
    """
    stretches = uniform.shape[1] // _STRETCH
    if stretches < 8:
        return np.zeros(len(uniform))
    cut = uniform[:, : stretches * _STRETCH].reshape(len(uniform), stretches, _STRETCH)
    known = ~np.isnan(cut)
    means = np.where(known, cut, 0).sum(2) / np.maximum(known.sum(2), 1)
    variance = means.var(axis=1, ddof=1)
    expected = inflation / 12 / _STRETCH
    # Three standard errors of a variance of so many normal means.
    sure = (variance > expected * (1 + 3 * np.sqrt(2 / (stretches - 1)))) & (
        known.any(axis=2).sum(axis=1) == stretches
    )
    return np.asarray(np.where(sure, 1.5 * np.sqrt(np.maximum(variance - expected, 0)), 0.0))
