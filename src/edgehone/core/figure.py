"""A figure: one measured number with its interval, or no number and the reason why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgehone.core.typed_json import Count

# The reason that a figure carries which has a value, but was not measured.
PREDICTED = "predicted"


@dataclass(frozen=True)
class Figure:
    """One measured number.

    `low` and `high` bound a 95 % confidence interval (None where n is too small to tell), `n` counts the
    independent samples (windows, rounds), `unit` is what the number is in. A number that could not be
    measured is `value=None` with a `reason`; it is never 0, never wins and never passes a gate. A prediction has
    n = 0 and the reason "predicted", its interval is the error that is stated for it.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: Count = 0
    unit: str = ""
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("a figure without a value must have a reason")

    @classmethod
    def missing(cls, reason: str, unit: str = "") -> Figure:
        """No number, and why."""
        return cls(None, unit=unit, reason=reason)

    @classmethod
    def prediction(cls, value: float, factor: float, unit: str) -> Figure:
        """A prediction that may be off by `factor` either way."""
        return cls(value, value / factor, value * factor, 0, unit, PREDICTED)

    @property
    def predicted(self) -> bool:
        """Whether it has a value that was not measured."""
        return self.value is not None and self.reason == PREDICTED

    @property
    def factor(self) -> float:
        """By how much the value may be off, as a factor of 1 or more; 1 where there is no interval above 0."""
        if not self.value or not self.low or not self.high or self.low <= 0:
            return 1.0
        return max(self.high / self.value, self.value / self.low)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figure:
        """The figure that `to_json` wrote."""
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        """A plain dict: value, low, high, n, unit, reason."""
        return asdict(self)

    def ties(self, other: Figure) -> bool:
        """Whether the two differ by no more than the interval of their difference; without intervals never.

        Of independent readings that is the halves that face each other, added in quadrature. That two intervals overlap
        says less: values that differ at 5 % may lie in intervals of 95 % that do (Schenker & Gentleman, "On Judging the
        Significance of Differences by Examining the Overlap Between Confidence Intervals", 2001).
        """
        first, second = sorted([self._ends(), other._ends()], key=lambda ends: ends[1])
        return second[1] - first[1] <= math.hypot(first[2] - first[1], second[1] - second[0])

    def _ends(self) -> tuple[float, float, float]:
        """Low, value and high; NaN, which no comparison holds for, where one of them is missing."""
        if self.value is None or self.low is None or self.high is None:
            return math.nan, math.nan, math.nan
        return self.low, self.value, self.high
