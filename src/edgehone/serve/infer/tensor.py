"""A tensor as bytes, and the names of types."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The protocol's names of numpy's types. Texts (BYTES) are no type of a graph that edgehone optimizes.
DATATYPES: Mapping[str, str] = MappingProxyType(
    {
        "bool": "BOOL",
        **{f"uint{bits}": f"UINT{bits}" for bits in (8, 16, 32, 64)},
        **{f"int{bits}": f"INT{bits}" for bits in (8, 16, 32, 64)},
        **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
    }
)


@dataclass(frozen=True)
class Tensor:
    """A named array: its type as numpy names it, its shape, and its entries in C order, little-endian."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> Tensor:
        """Return an array as a tensor."""
        return cls(name, array.dtype.name, array.shape, array.tobytes())

    @property
    def array(self) -> NDArray[Any]:
        """The array, which shares its memory with `data`."""
        import numpy as np

        return np.frombuffer(self.data, self.dtype).reshape(self.shape)

    @property
    def datatype(self) -> str:
        """The protocol's name of its type."""
        return DATATYPES[self.dtype]


def bytes_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the number of bytes of a tensor."""
    return math.prod(shape) * _item_bytes(dtype)


@functools.cache
def _item_bytes(dtype: str) -> int:
    import numpy as np

    return np.dtype(dtype).itemsize
