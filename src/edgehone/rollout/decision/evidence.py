"""Evidence that a challenger is worse, and that it is not worse: e-processes that may be looked at after each request.

A block is at least one request to each version since the block before: x = mean of the challenger's values - mean
of the champion's, in [-1, 1]. With random assignment a block has a mean of d, the true difference; comparing within
blocks cancels what changes for both over time, such as load.

Worse: if d ≤ margin, the wealth Π (1 + λ (x - margin)) is a nonnegative supermartingale for each bet 0 < λ < 1/(1 +
margin), and so is the mean over bets. By Ville's inequality it EVER reaches 1/α with a probability of at most α. A
part of the capital bets on changes that begin later: W(b) = (W(b-1) + w(b)) f(b), Σ w ≤ 1, as in `drift.bets`, for
a challenger that is good for thousands of requests and then is not.

Not worse is the mirror image with λ (margin - x), anew in each stage: load and requests of an earlier one say little
about the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgehone.core.arrays import Array, np
from edgehone.drift.bets import weights
from edgehone.rollout.decision.outcome import Values, add_known
from edgehone.rollout.decision.rules import Rules

# Wealth is kept within these bounds, so that it neither overflows nor vanishes.
_LEAST, _MOST = 1e-250, 1e250


class Evidence:
    """The e-processes of all objectives. Arrays over (objectives, bets) or objectives."""

    def __init__(self, rules: Rules, wider: float = 1.0) -> None:
        objectives, shape = rules.objectives, (len(rules.objectives), len(rules.bets))
        self._bets = np.array(rules.bets)
        self._later = rules.later
        self._harm = np.array([one.harm for one in objectives])[:, None]
        self._not_worse = np.array([one.not_worse for one in objectives])[:, None]
        self._absolute = [one.absolute for one in objectives]
        self.fixed, self.changed, self.passing = np.ones(shape), np.zeros(shape), np.ones(shape)
        self.cash, self.blocks, self.stage_blocks = np.ones(shape[0]), np.zeros(shape[0]), np.zeros(shape[0])
        self.next_stage(wider)

    def next_stage(self, wider: float) -> None:
        """Begin a stage: what is not worse must be shown again, by a margin that is so many times as wide."""
        self._margin = np.minimum(self._not_worse * wider, 0.99)
        self.passing[:] = 1.0
        self.stage_blocks[:] = 0.0
        # Values since the last block: sums and numbers of challenger (0) and champion (1). Lists are faster here.
        count = len(self._absolute)
        self.sums, self.numbers = [[0.0] * count, [0.0] * count], [[0.0] * count, [0.0] * count]

    def add(self, challenger: bool, values: Values) -> None:
        """Add the values of a request; None where one is not known. Complete blocks become evidence."""
        side = 0 if challenger else 1
        add_known(values, self.sums[side], self.numbers[side])
        mine, theirs = self.numbers
        complete = [
            at
            for at, alone in enumerate(self._absolute)
            if mine[at] and (alone or theirs[at]) and values[at] is not None
        ]
        if not complete:
            return
        x = np.full(len(values), np.nan)
        for at in complete:
            x[at] = self.sums[0][at] / mine[at]
            if not self._absolute[at]:
                x[at] -= self.sums[1][at] / theirs[at]
            for side in (0, 1):
                self.sums[side][at] = self.numbers[side][at] = 0.0
        self.bet(x)

    def bet(self, x: Array, passing: Array | None = None) -> None:
        """Take the difference of each objective, NaN where there is none.

        `passing` is another one for the evidence that the challenger is not worse, where it is not the same.
        """
        known = ~np.isnan(x)
        if not known.any():
            return
        column = np.where(known, x, 0.0)[:, None]
        other = column if passing is None else np.where(known, passing, 0.0)[:, None]
        unknown = ~known
        worse = 1 + self._bets * (column - self._harm)
        better = 1 + self._bets * (self._margin - other)
        worse[unknown] = better[unknown] = 1.0
        self.blocks += known
        self.stage_blocks += known
        weight = np.where(known, weights(np.maximum(self.blocks, 1)), 0.0)
        self.cash -= weight
        self.changed = np.clip((self.changed + weight[:, None]) * worse, 0.0, _MOST)
        self.fixed = np.clip(self.fixed * worse, _LEAST, _MOST)
        self.passing = np.clip(self.passing * better, _LEAST, _MOST)

    @property
    def worse(self) -> Array:
        """The evidence of each objective that the challenger is worse than its margin, since the rollout began."""
        later = self.cash + self.changed.mean(1)
        return np.asarray((1 - self._later) * self.fixed.mean(1) + self._later * later)

    @property
    def not_worse(self) -> Array:
        """The evidence of each objective that it is not worse, since the stage began."""
        return np.asarray(self.passing.mean(1))

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON data."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {**arrays, "sums": self.sums, "numbers": self.numbers}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take over what `to_json` returned. Raises ValueError if it is of other objectives or bets."""
        for name in _ARRAYS:
            read = np.array(data[name], float)
            if read.shape != getattr(self, name).shape or not np.isfinite(read).all():
                raise ValueError(f"the stored evidence does not fit the rules: {name} has shape {read.shape}")
            setattr(self, name, read)
        self.sums, self.numbers = data["sums"], data["numbers"]


_ARRAYS = ("fixed", "changed", "passing", "cash", "blocks", "stage_blocks")


def upper_level(total: float, number: float, error: float) -> float:
    """Return an upper bound of the mean of values in [0, 1], whenever it is computed, wrong with probability `error`.

    The q ≥ mean with n KL(mean, q) = ln((n + 1) / error): from the mixture of Bernoulli likelihood ratios over a
    uniform prior, whose maximum over (n + 1) outcomes it bounds; values within [0, 1] are less spread than
    Bernoulli ones.
    """
    if number < 1:
        return 1.0
    mean, limit = total / number, math.log((number + 1) / error) / number
    low, high = mean, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _divergence(mean, middle) > limit else (middle, high)
    return high


def lower_level(total: float, number: float, error: float) -> float:
    """Return a lower bound of the mean of values in [0, 1], whenever it is computed, wrong with probability `error`."""
    return 1 - upper_level(number - total, number, error)


def _divergence(p: float, q: float) -> float:
    """Return the Kullback-Leibler divergence of Bernoulli distributions, in nats."""
    if q >= 1:
        return math.inf if p < 1 else 0.0
    if q <= 0:
        return math.inf if p > 0 else 0.0
    first = p * math.log(p / q) if p > 0 else 0.0
    return first + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)
