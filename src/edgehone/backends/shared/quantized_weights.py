"""The share of an artifact's weights that is quantized, as a fact of the build that every backend returns.

A recipe called int8 may leave weights in floats: rows that no group divides, operators that a quantizer does not know,
graphs within graphs. The core skips a build in which no weight is quantized, and reports a share below all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Names of weights that stayed in floats, the largest first.
_NAMED = 5


def facts(weights: Iterable[tuple[str, int, bool]]) -> dict[str, Any]:
    """Return `quantized_share` of the elements of the weights, and `unquantized`, names of the largest others.

    `weights` holds the name of each weight matrix, its number of elements, and whether it has 8 bits or fewer.
    """
    found = list(weights)
    total = sum(elements for _, elements, _ in found)
    others = sorted(((-elements, name) for name, elements, quantized in found if not quantized))
    share = sum(elements for _, elements, quantized in found if quantized) / total if total else 0.0
    return {"quantized_share": share, "unquantized": [name for _, name in others[:_NAMED]]}


def is_matrix(shape: Iterable[int]) -> bool:
    """Return True for a weight with two or more extents above 1: not a bias, norm, scale or shape."""
    return sum(extent > 1 for extent in shape) > 1
