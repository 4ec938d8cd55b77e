"""Mixed precisions for a budget of the user's own: `--subject-to "bytes<=60MB"` is what a knapsack can be filled to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from edgehone.backends.base import Recipe
from edgehone.model.info import ModelInfo

# From here on every weight has the 8 bits and more that plain recipes give it.
_ENOUGH_BITS = 8.5


def fitted(model: ModelInfo, recipes: Sequence[Recipe], most_bytes: int | None) -> list[Recipe]:
    """The recipe that spends just so many bytes, of a backend that assigns precisions; none without need.

    `recipes` are the backend's. The table of what rounding costs is measured once for all budgets.
    """
    first = next((recipe for recipe in recipes if "mix" in recipe.build), None)
    if first is None or not most_bytes or not model.parameters:
        return []
    bits = 8 * most_bytes / model.parameters
    if bits >= _ENOUGH_BITS:
        return []
    return [
        replace(
            first,
            name=re.sub(r"^mix-[\d.]+", f"mix-{most_bytes / 1e6:g}MB", first.name),
            build={**first.build, "mix": {"bytes": most_bytes}},
            bits=bits,
            why=f"at most {most_bytes:,} bytes, spent by what each weight's rounding costs on the calibration text",
        )
    ]
