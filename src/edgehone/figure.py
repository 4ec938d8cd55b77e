"""A figure: one measured number with its interval, or no number and the reason why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured number.

    `low` and `high` bound a 95 % confidence interval (None where n is too small to tell), `n` counts the
    independent samples (windows, rounds), `unit` is what the number is in. A number that could not be
    measured is `value=None` with a `reason`; it is never 0, never wins and never passes a gate.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("a figure without a value must say why")

    @classmethod
    def missing(cls, reason: str, unit: str = "") -> Figure:
        """No number, and why."""
        return cls(None, unit=unit, reason=reason)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figure:
        """The figure that `to_json` wrote."""
        return cls(**data)

    def to_json(self) -> dict[str, Any]:
        """A plain dict: value, low, high, n, unit, reason."""
        return asdict(self)

    def overlaps(self, other: Figure) -> bool:
        """Whether the two intervals share a point. A missing figure or interval overlaps nothing."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return False
        return self.low <= other.high and other.low <= self.high
