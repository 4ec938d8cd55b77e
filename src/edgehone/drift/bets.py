"""Bets against "nothing has changed": e-processes for a change at an unknown time.

For each value, p-values arrive that are uniform under the null (ranks.py). A test looks at a score z of p in [0,
1], whose mean is at most m unless there is a change: p itself, 1 - p, an indicator of a tail, the distance from the
middle. The factors 1 + λ (z - m), 0 ≤ λ < 1/m, have a mean of at most 1 (betting: Waudby-Smith and Ramdas, JRSS B
86, 2024). m includes the detector's tolerance ε: a distribution function within ε of the pool's moves the mean of p
and the weight of a tail by at most ε, and the mean distance by at most 2 ε.

A change may begin before any batch b. The process for it is the product of the factors from b on; the mixture Σ
w(b) product(b), with weights that sum to 1 and what is not started yet kept as cash, is again a nonnegative
martingale with mean 1. So by Ville's inequality it EVER reaches 1/α with a probability of at most α, however long
the traffic. An e-detector of Shiryaev-Roberts type has no such weights: its sum grows under the null, and it
controls the average run length only (Shin, Ramdas and Rinaldo, New England Journal of Statistics in Data Science 2,
2024). The price is a delay of ln(1/w) divided by the growth: 7 nats at the 60th batch, 18 at the millionth.

Averages over bets, scores and values are again e-processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgehone.core.arrays import Array, NDArray, np

# Wealth is capped, which only lowers it, so that it can neither overflow nor take for ever to come down again.
_MOST = 1e200
_CONTINUOUS = 4  # up, down, wide, narrow


@dataclass(frozen=True)
class Scores:
    """The scores and bets of all values. Arrays over (values, scores, bets) unless said otherwise."""

    scores: tuple[str, ...]  # the kind of each
    tails: tuple[float, ...]
    means: Array  # (values, scores)
    stakes: Array

    @classmethod
    def of(cls, tolerances: Array, tails: Sequence[float], bets: Sequence[float]) -> Scores:
        """Return the tests for values with these tolerances."""
        names = (
            *("up", "down", "wide", "narrow"), *("high" for _ in tails), *("low" for _ in tails)
        )  # fmt: skip
        base = np.array([0.5] * _CONTINUOUS + [*tails, *tails])
        times = np.array([1.0, 1.0, 2.0, 2.0] + [1.0] * (2 * len(tails)))
        means = np.minimum(base + times * tolerances[:, None], 1.0)
        return cls(names, tuple(tails), means, np.array(bets) / means[:, :, None])

    def factors(self, p: Array) -> Array:
        """Return the product of the factors of a batch of p-values (values, requests); unknown ones change nothing."""
        # Requests are the first axis, along which a product is fastest; values are the last one: long inner loops.
        by_request = p.T.copy()
        factors = np.empty(self.stakes.shape)
        products = self._products(by_request)
        factors[:, :_CONTINUOUS] = products.reshape(-1, _CONTINUOUS, len(p)).transpose(2, 1, 0)
        factors[:, _CONTINUOUS:] = self._of_tails(by_request)
        return factors

    def _products(self, p: Array) -> NDArray[np.float32]:
        """Return the products of the continuous scores, (bets, scores and values); seven digits suffice."""
        requests, values = p.shape
        means, stakes = self._continuous
        z = np.empty((requests, _CONTINUOUS, values), np.float32)
        z[:, 0] = p
        z[:, 2] = np.abs(2 * z[:, 0] - 1)
        z[:, 1::2] = 1 - z[:, ::2]
        z -= means
        z[np.isnan(z)] = 0
        growth = z.reshape(requests, 1, -1) * stakes
        growth += 1
        return np.asarray(np.multiply.reduce(growth, axis=0))

    def _of_tails(self, p: Array) -> Array:
        """Return the products of the scores of tails, (values, scores, bets)."""
        upper, lower, hit, miss = self._tails
        # NaN compares as False
        inside = np.concatenate([p[:, None] > upper, p[:, None] < lower], axis=1)
        hits = np.add.reduce(inside, axis=0, dtype=np.int64)
        misses = np.add.reduce(p == p, axis=0, dtype=np.int64) - hits  # noqa: PLR0124 - NaN differs from itself
        return np.asarray(np.exp(hits.T[:, :, None] * hit + misses.T[:, :, None] * miss))

    @cached_property
    def _continuous(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the means, (scores, values), and the stakes, (bets, scores and values)."""
        bets = self.stakes.shape[2]
        means, stakes = self.means[:, :_CONTINUOUS].T, self.stakes[:, :_CONTINUOUS].transpose(2, 1, 0)
        return means.astype(np.float32, order="C"), stakes.reshape(bets, -1).astype(np.float32)

    @cached_property
    def _tails(self) -> tuple[Array, Array, Array, Array]:
        """Return where tails begin, and the logarithms of the factors of a value inside a tail and of one outside."""
        stakes, means = self.stakes[:, _CONTINUOUS:], self.means[:, _CONTINUOUS:, None]
        lower = np.array(self.tails)[:, None]
        return 1 - lower, lower, np.log1p(stakes * (1 - means)), np.log1p(-stakes * means)


class Wealth:
    """The mixtures over the time of a change, one for each value, score and bet."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.wealth = np.zeros(shape)
        self.cash = np.ones(shape[0])
        self.batches = np.zeros(shape[0])
        # For the estimated time of the change only (Page's CUSUM): the product since its last restart, and when
        # that was.
        self.cusum = np.ones(shape)
        self.start = np.zeros(shape, np.int64)

    def bet(self, factors: Array, known: NDArray[np.bool_], requests: int) -> None:
        """Take the factors of a batch. `known`: values that occur in it. `requests`: so many were before it."""
        weight = np.where(known, weights(self.batches + 1), 0.0)
        self.batches += known
        self.cash -= weight
        self.wealth += weight[:, None, None]
        self.wealth *= factors
        np.minimum(self.wealth, _MOST, out=self.wealth)
        np.copyto(self.start, requests, where=self.cusum <= 1)
        np.maximum(self.cusum, 1.0, out=self.cusum)
        self.cusum *= factors
        np.minimum(self.cusum, _MOST, out=self.cusum)

    def evidence(self, weights_of_scores: Array) -> Array:
        """Return the e-process of each value; `weights_of_scores` (values, scores) sum to 1 for each value."""
        # Reductions without the overhead of `mean`, which is most of it for so few numbers.
        sums = np.add.reduce(self.wealth, axis=2) * weights_of_scores
        return np.asarray(self.cash + np.add.reduce(sums, axis=1) / self.wealth.shape[2])

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON data."""
        return {name: getattr(self, name).tolist() for name in _FIELDS}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Wealth:
        """Read what `to_json` returned."""
        read = cls(np.shape(data["wealth"]))
        for name in _FIELDS:
            setattr(read, name, np.array(data[name], getattr(read, name).dtype))
        return read


_FIELDS = ("wealth", "cash", "batches", "cusum", "start")


def weights(batch: Array) -> Array:
    """Return the weight of a change before batch b, from 1 on; the sum is below 1.

    A change before the first batch has a fifth of the weight: traffic may differ from evaluation samples from the
    beginning. The rest is 2.9 / ((b + 40) ln²(b + 40)), which varies little over the first 1,000 requests.
    """
    later = batch + 40
    return np.asarray(2.9 / (later * np.log(later) ** 2) + 0.2 * (batch == 1))
