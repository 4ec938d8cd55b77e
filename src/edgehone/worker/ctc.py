"""Texts in the scores of a CTC head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def blank_of(scores: Array) -> int:
    """Return the blank: the class that the largest score of most steps has, of [samples, steps, classes]."""
    import numpy as np

    return int(np.bincount(scores.argmax(-1).ravel()).argmax())


def texts(scores: Array, blank: int) -> list[tuple[int, ...]]:
    """Return the classes of each sample, of [samples, steps, classes], without repeats and then without blanks."""
    texts_of_samples = []
    for row in scores.argmax(-1):
        changed = [int(one) for i, one in enumerate(row) if i == 0 or one != row[i - 1]]
        texts_of_samples.append(tuple(one for one in changed if one != blank))
    return texts_of_samples
