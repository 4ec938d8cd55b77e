"""Whether a change has helped: a before/after test that may be looked at after each value.

The means before and after are each enclosed in a confidence sequence by betting (Waudby-Smith and Ramdas, JRSS B 86,
2024): for each candidate mean m of a grid, the wealth of bets on values above and below m; the interval holds all m
whose wealth has never reached 2 / α. It contains the true mean at ALL times with a probability of at least 1 - α / 2,
so that a verdict of `Effect` is wrong with a probability of at most α, whenever one looks and stops:

- "helped" is wrong if the mean did not become better at all;
- "did not help" is wrong if it became better by `margin` or more.

A true improvement between 0 and `margin` may get either. Values need a conditional mean that stays the same; `batch` of
them are averaged first, so that values may depend on each other within a batch.
"""

from __future__ import annotations

import math
from typing import Literal

from edgehone.core.arrays import np
from edgehone.core.errors import InputError

Verdict = Literal["helped", "did not help", "not enough data"]
_GRID = 201
# Bets as shares of the largest that cannot lose everything.
_BETS = (0.02, 0.06, 0.15, 0.35, 0.7)


class MeanInterval:
    """An interval for the mean of values in [0, 1], valid at all times with probability 1 - `error`."""

    def __init__(self, error: float) -> None:
        grid = np.linspace(0, 1, _GRID)
        self.low, self.high, self.count = 0.0, 1.0, 0
        self._grid = grid
        # Stakes for "above m" and for "below m"; at the ends of the grid only one of them can be lost.
        bets = np.array(_BETS)[:, None]
        self._stakes = np.concatenate([bets / np.maximum(grid, 1e-3), -bets / np.maximum(1 - grid, 1e-3)])
        self._logs = np.zeros_like(self._stakes)
        self._limit = math.log(len(self._stakes) / error)

    def add(self, value: float) -> None:
        """Add a value. The interval never becomes wider."""
        self.count += 1
        self._logs += np.log1p(np.maximum(self._stakes * (value - self._grid), -0.999999))
        most = self._logs.max(0)
        wealth = most + np.log(np.exp(self._logs - most).sum(0))  # times the number of bets
        inside = self._grid[(wealth < self._limit) & (self._grid >= self.low) & (self._grid <= self.high)]
        if len(inside):
            # A grid point is excluded for the mean between it and its neighbour, too.
            step = 1 / (_GRID - 1)
            self.low = max(self.low, float(inside[0]) - step)
            self.high = min(self.high, float(inside[-1]) + step)


class Effect:
    """A before/after test of values in [0, 1] of which smaller ones are better, such as failures.

    For values of which larger ones are better give 1 - value.
    """

    def __init__(self, margin: float, alpha: float = 0.05, batch: int = 1) -> None:
        if not (0 < margin < 1 and 0 < alpha < 1 and batch >= 1):
            raise InputError(
                f"margin {margin!r}, alpha {alpha!r}, batch {batch!r}: expected margin and alpha in (0, 1), batch ≥ 1",
                hint="try a margin of 0.05 and an alpha of 0.05",
            )
        self.margin = margin
        self._batch = batch
        self._sides = (MeanInterval(alpha / 2), MeanInterval(alpha / 2))
        self._waiting: tuple[list[float], list[float]] = ([], [])

    def before(self, value: float) -> None:
        """Add a value from before the change."""
        self._add(0, value)

    def after(self, value: float) -> None:
        """Add a value from after the change."""
        self._add(1, value)

    @property
    def improvement(self) -> tuple[float, float]:
        """The interval of mean before minus mean after; valid at all times with probability 1 - alpha."""
        before, after = self._sides
        return before.low - after.high, before.high - after.low

    @property
    def verdict(self) -> Verdict:
        """Return the verdict on the values so far."""
        low, high = self.improvement
        if low > 0:
            return "helped"
        return "did not help" if high < self.margin else "not enough data"

    def __str__(self) -> str:
        """Return the verdict with its figures."""
        low, high = self.improvement
        before, after = (one.count * self._batch for one in self._sides)
        return f"{self.verdict}: better by {low:.3f} to {high:.3f} ({before} values before, {after} after)"

    def _add(self, side: int, value: float) -> None:
        value = float(value)
        if not 0 <= value <= 1:
            raise InputError(f"the value {value!r} is not in [0, 1]", hint="use LatencyEffect for times")
        waiting = self._waiting[side]
        waiting.append(value)
        if len(waiting) == self._batch:
            self._sides[side].add(sum(waiting) / self._batch)
            waiting.clear()


class LatencyEffect:
    """A before/after test of times by the share of requests that take longer than `limit` seconds.

    Shares do not depend on how long the slowest requests take, so no assumption about the tail is needed. `limit` is
    the objective that was missed, or a quantile of what is normal; it must not be chosen from the added values.
    """

    def __init__(self, limit: float, margin: float = 0.1, alpha: float = 0.05, batch: int = 1) -> None:
        if not (math.isfinite(limit) and limit > 0):
            raise InputError(
                f"the limit is {limit!r} seconds; expected a positive number", hint="take the objective"
            )
        self.limit = limit
        self._effect = Effect(margin, alpha, batch)

    def before(self, seconds: float) -> None:
        """Add a time from before the change."""
        self._effect.before(self._exceeds(seconds))

    def after(self, seconds: float) -> None:
        """Add a time from after the change."""
        self._effect.after(self._exceeds(seconds))

    @property
    def improvement(self) -> tuple[float, float]:
        """The interval of the decrease of the share above the limit."""
        return self._effect.improvement

    @property
    def verdict(self) -> Verdict:
        """Return the verdict on the times so far."""
        return self._effect.verdict

    def __str__(self) -> str:
        """Return the verdict with its figures."""
        return f"share of requests above {self.limit:g} s: {self._effect}"

    def _exceeds(self, seconds: float) -> float:
        if not seconds >= 0:
            raise InputError(
                f"the time {seconds!r} is not a number of seconds", hint="leave out what was not measured"
            )
        return float(seconds > self.limit)
