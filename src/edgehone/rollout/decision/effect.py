"""A/B tests: the effect of a version, with an interval and a p-value that hold at any time.

The mixture sequential probability ratio test (Johari, Koomen, Pekelis and Walsh, Operations Research 70, 2022):
with an estimate θ of the difference of means and its variance v, and effects N(0, τ²) as the mixture,

    Λ = sqrt(v / (v + τ²)) exp(τ² θ² / (2 v (v + τ²)))

and Λ ≥ 1/α rejects "no effect"; the probability of that EVER happening without an effect is at most α. The interval
holds all differences that are not rejected. Variances are estimated, so this holds for means of many requests
(`least`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Moments:
    """Number, mean and sum of squared deviations of values (Welford's algorithm)."""

    number: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Add a value."""
        self.number += 1
        delta = value - self.mean
        self.mean += delta / self.number
        self.squares += delta * (value - self.mean)

    @property
    def variance(self) -> float:
        """The variance of the mean."""
        return self.squares / (self.number - 1) / self.number if self.number > 1 else math.inf


@dataclass(frozen=True)
class Effect:
    """The challenger's mean minus the champion's; the interval and p hold at any time. None: too few requests yet."""

    value: float | None
    low: float | None
    high: float | None
    p: float
    champion_requests: int
    challenger_requests: int

    def to_json(self) -> dict[str, Any]:
        """Return the effect as JSON data."""
        return asdict(self)


class AbTest:
    """The test of one metric, of which smaller values are better."""

    def __init__(self, scale: float, alpha: float, least: int) -> None:
        """`scale` is τ, `least` the number of requests of each version below which nothing is said."""
        self._scale, self.alpha, self._least = scale, alpha, least
        self.champion, self.challenger = Moments(), Moments()
        self._p = 1.0  # the smallest so far, which is valid as well
        self._low, self._high = -math.inf, math.inf  # the intersection of all intervals so far

    def add(self, challenger: bool, value: float) -> None:
        """Add the value of a request."""
        (self.challenger if challenger else self.champion).add(value)
        if min(self.champion.number, self.challenger.number) >= self._least:
            self._look()

    @property
    def effect(self) -> Effect:
        """The effect so far."""
        numbers = self.champion.number, self.challenger.number
        if min(numbers) < self._least:
            return Effect(None, None, None, 1.0, *numbers)
        return Effect(self.challenger.mean - self.champion.mean, self._low, self._high, self._p, *numbers)

    @property
    def shown(self) -> str | None:
        """Return "better" or "worse" if the challenger is shown to be that, else None."""
        found = self.effect
        if found.value is None or found.p > self.alpha:
            return None
        return "better" if found.value < 0 else "worse"

    def _look(self) -> None:
        v, t = self.champion.variance + self.challenger.variance, self._scale**2
        difference = self.challenger.mean - self.champion.mean
        if v <= 0:  # all values are equal: nothing is known of their spread
            return
        log_ratio = t * difference**2 / (2 * v * (v + t)) - math.log1p(t / v) / 2
        self._p = min(self._p, math.exp(-max(log_ratio, 0.0)))
        half = math.sqrt(2 * v * (v + t) / t * (math.log(1 / self.alpha) + math.log1p(t / v) / 2))
        self._low, self._high = max(self._low, difference - half), min(self._high, difference + half)
        if self._low > self._high:  # the difference has changed since: the last interval alone
            self._low, self._high = difference - half, difference + half

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON data."""
        bounds = [None if math.isinf(one) else one for one in (self._low, self._high)]
        return {
            "champion": asdict(self.champion),
            "challenger": asdict(self.challenger),
            "p": self._p,
            "bounds": bounds,
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take over what `to_json` returned."""
        self.champion, self.challenger = Moments(**data["champion"]), Moments(**data["challenger"])
        low, high = data["bounds"]
        self._p = data["p"]
        self._low, self._high = -math.inf if low is None else low, math.inf if high is None else high
