"""What is known of a request, and the values in [0, 1] that are compared; smaller ones are better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgehone.core.arrays import np
from edgehone.rollout.decision.rules import Rules

Arm = Literal["champion", "challenger"]
Values = list[float | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answered request. None means not known; such an objective takes nothing from this request.

    `failed`: the server was full, late or broken. `seconds` of a request that failed are not compared. `entropy`,
    `disagreement` (with the champion's answer to the same request) and `bad` (feedback) are in [0, 1].
    """

    failed: bool | None = None
    seconds: float | None = None
    entropy: float | None = None
    disagreement: float | None = None
    bad: float | None = None


def outcome_of(status: int, seconds: float, entropy: float | None = None) -> Outcome | None:
    """Return the outcome of a request by its HTTP status; None for one that failed by the client's own fault."""
    failed = status == 429 or status >= 500
    if not failed and status >= 400:
        return None
    return Outcome(failed, None if failed else seconds, None if failed else entropy)


def limits_of(rules: Rules, seconds: Sequence[float]) -> list[float | None]:
    """Return the limit in seconds of each objective, None for those without, from times of the champion."""
    times = np.array(seconds)
    return [
        None
        if one.quantile is None
        else float(one.factor * np.quantile(times, one.quantile) + one.plus_seconds)
        for one in rules.objectives
    ]


def fields_of(rules: Rules) -> list[str]:
    """Return the field of an outcome that each objective is about."""
    return [_FIELDS.get(one.name, "seconds") for one in rules.objectives]


def values_of(
    fields: Sequence[str], limits: Sequence[float | None], seen: Outcome, slack: float = 1.0
) -> Values:
    """Return the value of each objective, None where it is not known.

    Of a time it is whether it is above `slack` times the limit.
    """
    found: Values = []
    for field, limit in zip(fields, limits, strict=True):
        value = getattr(seen, field)
        if field == "seconds":
            value = None if value is None or limit is None else value > slack * limit
        found.append(None if value is None else min(max(float(value), 0.0), 1.0))
    return found


_FIELDS = {"errors": "failed", "agreement": "disagreement", "confidence": "entropy", "feedback": "bad"}


def add_known(values: Values, sums: list[float], numbers: list[float]) -> None:
    """Add the values of a request that are known to their sums and numbers by objective."""
    for at, value in enumerate(values):
        if value is not None:
            sums[at] += value
            numbers[at] += 1
