"""How far the outputs of a graph are from those that it gave before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgehone.worker.score_graph import SAME, SAME_DEFAULT, SAME_INTEGERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Difference:
    """The largest difference of an output, and the limit for outputs of its type.

    Of numbers with fractions it is a share of the output's largest entry, of whole numbers the share of entries that
    differ. The limits are those by which the original's own outputs were judged when they were computed twice.
    """

    output: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether it is within the limit."""
        return self.value <= self.limit


def largest(expected: Sequence[Arrays], found: Sequence[Arrays]) -> Difference:
    """Return the difference that is largest in relation to its limit, of several requests with all their outputs.

    An output that is missing or has another shape or type differs by infinity.
    """
    every = [_of_output(name, [one[name] for one in expected], found) for name in expected[0]]
    return max(every, key=lambda one: one.value / one.limit)


def limit_of(dtype: Any) -> float:
    """Return the limit for outputs of a numpy type."""
    return SAME_INTEGERS if dtype.kind != "f" else SAME.get(str(dtype), SAME_DEFAULT)


def _of_output(name: str, expected: Sequence[NDArray[Any]], found: Iterable[Arrays]) -> Difference:
    import numpy as np

    whole = expected[0].dtype.kind != "f"
    limit = limit_of(expected[0].dtype)
    worst = 0.0
    scale = max((_scale(one) for one in expected), default=0.0) or 1.0
    for one, answer in zip(expected, found, strict=True):
        other = answer.get(name)
        if other is None or other.shape != one.shape or other.dtype != one.dtype:
            return Difference(name, np.inf, limit)
        if whole:
            worst = max(worst, float(np.mean(one != other)) if one.size else 0.0)
            continue
        # Where both are NaN, or the same infinity, nothing differs.
        unequal = ~((one == other) | (np.isnan(one) & np.isnan(other)))
        if unequal.any():
            apart = np.abs(one[unequal].astype(np.float64) - other[unequal].astype(np.float64))
            worst = max(worst, float(np.where(np.isnan(apart), np.inf, apart).max()) / scale)
    return Difference(name, worst, limit)


def _scale(array: NDArray[Any]) -> float:
    """Return the largest finite entry's size."""
    import numpy as np

    if array.dtype.kind != "f":
        return 1.0
    sizes = np.abs(array[np.isfinite(array)].astype(np.float64))
    return float(sizes.max(initial=0.0))
