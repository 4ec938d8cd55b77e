"""Numbers that describe a vector of input features: its coordinates or random projections, and its distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgehone.core.arrays import Array, np

# Up to this many coordinates are ranked one by one; longer vectors by as many random projections.
MOST = 8
# Larger coordinates are no features.
_LARGEST = 1e100


@dataclass(frozen=True)
class VectorScale:
    """Mean and standard deviation of each coordinate in the reference."""

    mean: Array
    deviation: Array

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the numbers."""
        size = len(self.mean)
        return (
            *(f"features.{one}" for one in range(min(size, MOST))),
            *(("features.norm",) if size > 1 else ()),
        )

    def values(self, vectors: Sequence[Sequence[float] | None]) -> tuple[Array, int]:
        """Return the numbers of each vector, (vectors, names), NaN where unknown, and how many vectors are invalid."""
        size = len(self.mean)
        table, invalid = _table(vectors, size)
        scaled = (table - self.mean) / self.deviation
        numbers = scaled if size <= MOST else (scaled[:, None, :] * _signs(size)).sum(-1) / np.sqrt(size)
        if size > 1:
            numbers = np.concatenate([numbers, np.sqrt((scaled**2).mean(1, keepdims=True))], axis=1)
        return numbers, invalid

    def to_json(self) -> dict[str, list[float]]:
        """Return both moments."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> VectorScale:
        """Read what `to_json` returned."""
        return cls(np.array(data["mean"], np.float64), np.array(data["deviation"], np.float64))


def fit(vectors: Sequence[Array]) -> VectorScale:
    """Return the scale of the reference's vectors, all of one length. A constant coordinate has a deviation of 1."""
    table = np.stack(vectors)
    deviation = table.std(0)
    return VectorScale(table.mean(0), np.where(deviation > 0, deviation, 1.0))


def as_vector(values: Sequence[float]) -> Array | None:
    """Return the values as a vector, None unless all are finite numbers of less than 1e100."""
    try:
        read = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return read if read.ndim == 1 and len(read) and (np.abs(read) < _LARGEST).all() else None


def _table(vectors: Sequence[Sequence[float] | None], size: int) -> tuple[Array, int]:
    """Return vectors as rows, NaN where one is unknown or invalid, and how many are invalid."""
    unknown = (np.nan,) * size
    try:
        table = np.array([unknown if one is None else one for one in vectors], np.float64)
    except (TypeError, ValueError, OverflowError):  # one of them is no vector
        table = np.empty(0)
    if table.shape != (len(vectors), size):
        read = [None if one is None else as_vector(one) for one in vectors]
        table = np.array([unknown if one is None or len(one) != size else one for one in read], np.float64)
        table = table.reshape(len(vectors), size)
    usable = (np.abs(table) < _LARGEST).all(1)
    table[~usable] = np.nan
    return table, len(vectors) - int(usable.sum()) - sum(one is None for one in vectors)


@cache
def _signs(size: int) -> Array:
    """Return random signs (MOST, size), from the bits of a hash so that every version of numpy gives the same."""
    mixed = np.arange(1, size + 1, dtype=np.int64) * 2654435761 & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 15) * 2246822519 & 0xFFFFFFFF
    return np.where(mixed[None, :] >> np.arange(8, 8 + MOST)[:, None] & 1, 1.0, -1.0)
