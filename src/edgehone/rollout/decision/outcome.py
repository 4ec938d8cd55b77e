"""What is known of a request, and the values in [0, 1] that are compared; smaller ones are better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgehone.rollout.decision.rules import Rules

Arm = Literal["champion", "challenger"]
Array = NDArray[np.float64]


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


def limits_of(rules: Rules, seconds: Sequence[float]) -> Array:
    """Return the limit in seconds of each objective, NaN for those without, from times of the champion."""
    times = np.array(seconds)
    return np.array(
        [
            np.nan
            if one.quantile is None
            else one.factor * np.quantile(times, one.quantile) + one.plus_seconds
            for one in rules.objectives
        ]
    )


def values_of(names: Sequence[str], limits: Array, seen: Outcome) -> Array:
    """Return the value of each objective, NaN where it is not known.

    An objective with a limit says whether the time is above it. The others are a field of the outcome by their name.
    """
    found = np.where(
        np.isnan(limits), np.nan, np.nan if seen.seconds is None else (seen.seconds > limits) * 1.0
    )
    for at, name in enumerate(names):
        field = _FIELDS.get(name)
        if field is not None and (value := getattr(seen, field)) is not None:
            found[at] = min(max(float(value), 0.0), 1.0)
    return found


_FIELDS = {"errors": "failed", "agreement": "disagreement", "confidence": "entropy", "feedback": "bad"}
