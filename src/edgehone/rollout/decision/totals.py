"""Totals of the values of a rollout so far, by version, and the bounds of the champion's means computed from them."""

from __future__ import annotations

from edgehone.core.arrays import Array, np
from edgehone.rollout.decision.evidence import lower_level, upper_level
from edgehone.rollout.decision.outcome import Values, add_known
from edgehone.rollout.decision.rules import Objective, Rules


class Totals:
    """`sums` and `numbers` of the known values: of the challenger (index 0) and the champion (1), by objective."""

    def __init__(self, objectives: int) -> None:
        self.sums = [[0.0] * objectives, [0.0] * objectives]
        self.numbers = [[0.0] * objectives, [0.0] * objectives]

    def add(self, challenger: bool, values: Values) -> None:
        """Add the values of a request."""
        side = 0 if challenger else 1
        add_known(values, self.sums[side], self.numbers[side])

    def number(self, challenger: bool, at: int) -> int:
        """Return the number of requests with a known value of an objective."""
        return int(self.numbers[0 if challenger else 1][at])

    def mean(self, challenger: bool, at: int) -> float | None:
        """Return the mean value of an objective, or None without data."""
        side = 0 if challenger else 1
        return self.sums[side][at] / self.numbers[side][at] if self.numbers[side][at] else None

    def compared(self, at: int, one: Objective) -> str:
        """Return the means of both versions and the margin, in words."""
        mine = f"{100 * (self.mean(True, at) or 0):.1f} % of {self.number(True, at)} requests"
        if one.absolute:
            return f"{mine}; the margin is {100 * one.harm:g} %"
        theirs = f"{100 * (self.mean(False, at) or 0):.1f} % of the champion's {self.number(False, at)}"
        return f"{mine}, {theirs}; the margin is {100 * one.harm:g} points"


def champion_levels(rules: Rules, totals: Totals) -> tuple[Array, Array]:
    """Return the upper and the lower bounds of the champion's means, which the last stage is compared with.

    For times they are NaN, so that they are not compared: load changes over the day, and an idle champion tells
    nothing of how fast it would be.
    """
    most, least = [], []
    for one, total, number in zip(rules.objectives, totals.sums[1], totals.numbers[1], strict=True):
        if one.absolute:
            bounds = 0.0, 0.0
        elif one.quantile is not None or not number:
            bounds = float("nan"), float("nan")
        else:
            above, below = (
                rules.level_share * part for part in (one.share * rules.alpha, rules.promote_alpha)
            )
            bounds = upper_level(total, number, above), lower_level(total, number, below)
        most.append(bounds[0])
        least.append(bounds[1])
    return np.array(most), np.array(least)
