"""What the values of an output look like: probabilities, sure decisions, vectors of length 1."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

SCORES = re.compile(r"logit|prob|score|class|label|softmax", re.IGNORECASE)
# Probabilities of decisions are mostly sure: at least this share lies further than this from one half. Numbers between
# 0 and 1 that are not may be coordinates.
_SURE = 0.3
_SURE_SHARE = 0.6


def within_one(array: Array) -> bool:
    """Return True if all entries are between 0 and 1, and not all are 0."""
    return bool(array.size) and bool((array >= 0).all()) and bool((array <= 1).all()) and bool(array.any())


def decides(name: str, array: Array) -> bool:
    """Return True if the entries are between 0 and 1 and mostly sure, or named as scores."""
    sure = float((abs(array - 0.5) >= _SURE).mean())
    return within_one(array) and (sure >= _SURE_SHARE or bool(SCORES.search(name)))


def distributions(array: Array) -> bool:
    """Return True if the entries of the last axis add up to 1."""
    return array.shape[-1] > 1 and sums_to_one(array, -1)


def sums_to_one(array: Array, axis: int) -> bool:
    """Return True if no entry is negative and those along `axis` add up to 1."""
    import numpy as np

    return bool((array >= 0).all()) and bool(np.allclose(array.sum(axis, dtype=np.float64), 1.0, atol=1e-2))


def normalized(array: Array) -> bool:
    """Return True if the vectors [samples, entries] have length 1."""
    import numpy as np

    return bool(np.allclose(np.linalg.norm(array.astype(np.float64), axis=1), 1.0, atol=1e-2))


def confidence_of(array: Array) -> float:
    """Return the mean over the samples of the largest softmax entry of [samples, entries]."""
    import numpy as np

    shifted = np.exp(array.astype(np.float64) - array.max(1, keepdims=True))
    return float((shifted.max(1) / shifted.sum(1)).mean())


def largest_share(array: Array) -> float:
    """Return the share of the class that is the largest entry of most steps."""
    import numpy as np

    picked = array.argmax(-1).ravel()
    return float(np.bincount(picked).max() / picked.size)


def shape_text(array: Array) -> str:
    """Return the shape as a text for reasons and errors."""
    return "[" + ", ".join(["samples", *(str(size) for size in array.shape[1:])]) + "]"
