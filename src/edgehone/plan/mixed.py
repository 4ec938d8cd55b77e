"""Mixed precision for a size limit of the user (`--target "bytes<=60MB"`): solved as a knapsack problem."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from edgehone.backends.base import Recipe
from edgehone.model.info import ModelInfo

# From this many bits per weight, plain recipes already give every weight 8 bits or more.
_ENOUGH_BITS = 8.5


def fit_to_size(model: ModelInfo, recipes: Sequence[Recipe], most_bytes: int | None) -> list[Recipe]:
    """Return a mixed-precision recipe of at most `most_bytes`, or an empty list.

    `recipes`: those of one backend. The result is empty without a limit, if the backend has no mixed-precision recipe,
    if the limit leaves room for 8 bits per weight, or if a GGUF file meets it as it is. The rounding costs are measured
    once for all sizes.
    """
    mixes = [recipe for recipe in recipes if "mix" in recipe.build]
    if not mixes or not most_bytes or not model.parameters:
        return []
    first, bits = mixes[0], 8 * most_bytes / model.parameters
    if bits >= _ENOUGH_BITS or (model.format == "gguf" and most_bytes >= model.bytes):
        return []
    # Calibration depends on the bits: the arithmetic is that of the recipe which is nearest in bits.
    nearest = min(mixes, key=lambda one: abs((one.bits or 0.0) - bits))
    return [
        replace(
            first,
            name=re.sub(r"^mix-[\d.]+", f"mix-{most_bytes / 1e6:g}MB", first.name),
            build={**first.build, "mix": {"bytes": most_bytes}},
            bits=bits,
            operations=nearest.operations,
            why=f"at most {most_bytes:,} bytes, assigned by the cost of rounding each weight on the calibration text",
        )
    ]
