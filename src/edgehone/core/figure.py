"""Figures: measured numbers with their intervals, or the reason why there is no number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgehone.core.typed_json import Count

# The reason of a figure that has a value but was not measured.
PREDICTED = "predicted"


@dataclass(frozen=True)
class Figure:
    """One measured number.

    `low` and `high` bound a 95 % confidence interval (None if n is too small), `n` counts the independent samples
    (windows, rounds), and `unit` is the unit of the number. A number that could not be measured is `value=None` with a
    `reason`; it is never 0, never wins and never passes a gate. A prediction has n = 0, the reason "predicted", and
    its stated error as the interval.
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
        """Return a figure without a value."""
        return cls(None, unit=unit, reason=reason)

    @classmethod
    def prediction(cls, value: float, factor: float, unit: str) -> Figure:
        """Return a prediction that may be wrong by `factor` in either direction."""
        return cls(value, value / factor, value * factor, 0, unit, PREDICTED)

    @property
    def predicted(self) -> bool:
        """Return True if the value was predicted, not measured."""
        return self.value is not None and self.reason == PREDICTED

    @property
    def factor(self) -> float:
        """Return the error of the value as a factor of 1 or more; 1 if there is no interval above 0."""
        if not self.value or not self.low or not self.high or self.low <= 0:
            return 1.0
        return max(self.high / self.value, self.value / self.low)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figure:
        """Return the figure that `to_json` wrote."""
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict: value, low, high, n, unit, reason."""
        return asdict(self)

    def ties(self, other: Figure) -> bool:
        """Return True if the two differ by no more than the interval of their difference; False without intervals.

        For independent measurements that interval is the halves of the two intervals that face each other, added in
        quadrature. Overlap of the two intervals is a weaker criterion: 95 % intervals can overlap although the values
        differ at the 5 % level (Schenker & Gentleman, "On Judging the Significance of Differences by Examining the
        Overlap Between Confidence Intervals", 2001).
        """
        first, second = sorted([self._ends(), other._ends()], key=lambda ends: ends[1])
        return second[1] - first[1] <= math.hypot(first[2] - first[1], second[1] - second[0])

    def _ends(self) -> tuple[float, float, float]:
        """Return low, value and high; NaN, for which every comparison is false, if one of them is missing."""
        if self.value is None or self.low is None or self.high is None:
            return math.nan, math.nan, math.nan
        return self.low, self.value, self.high
