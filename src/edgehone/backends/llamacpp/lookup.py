"""ggml's types whose weights are looked up in a table: reading, writing, and the nearest values (worker side).

A weight is `scale * value`. In IQ4_XS and IQ4_NL each value is one of sixteen. In the others a table has the magnitudes
of 4 or 8 weights in a row, and each weight has a sign of its own; in the types with `even` signs, of every 8 weights an
even number is negative, so that seven bits tell eight signs. Layouts: block_iq2_xxs to block_iq4_xs of
ggml/src/ggml-common.h, little-endian; the tables are those of gguf-py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]

# Weights that are rounded together: those that share signs, and two entries of tables for four weights.
UNIT = 8


@dataclass(frozen=True)
class Table:
    """Bytes per block, weights per block, weights of an entry of the table, and whether signs are even."""

    size: int
    block: int
    width: int
    even: bool = False


TABLES = {
    "IQ2_XXS": Table(66, 256, 8, even=True),
    "IQ2_XS": Table(74, 256, 8, even=True),
    "IQ2_S": Table(82, 256, 8),
    "IQ3_XXS": Table(98, 256, 4, even=True),
    "IQ3_S": Table(110, 256, 4),
    "IQ4_XS": Table(136, 256, 1),
    "IQ4_NL": Table(18, 32, 1),
}


@cache
def grid(kind: str) -> Floats:
    """Return the table of a type: magnitudes [entries, width], or the sixteen values [16, 1]."""
    import gguf.quants
    import numpy as np

    if TABLES[kind].width == 1:
        return np.array(gguf.quants.IQ4_NL.kvalues, np.float32)[:, None]
    quantizer = getattr(gguf.quants, kind)
    quantizer.init_grid()
    return np.ascontiguousarray(quantizer.grid.reshape(quantizer.grid_shape), np.float32)


def values(kind: str, raw: Bytes, rows: int) -> NDArray[np.int8]:
    """Return the values of a tensor's bytes [rows, columns]. Raises KeyError for a type that is not in TABLES."""
    import numpy as np

    places, negative = _unpacked(kind, raw.reshape(-1, TABLES[kind].size))
    found: NDArray[np.int8] = grid(kind).astype(np.int8)[places].reshape(len(places), -1)
    if negative is not None:
        found = np.where(negative, -found, found)
    return found.reshape(rows, -1)


def with_values(kind: str, raw: Bytes, new: NDArray[np.int8]) -> Bytes:
    """Return the tensor's bytes with other values and the same scales. `new` must be values that the type has."""
    import numpy as np

    table = TABLES[kind]
    blocks = raw.reshape(-1, table.size).copy()
    each = new.reshape(len(blocks), -1)
    if table.width == 1:
        places = _scalar_places()[each.astype(np.int16) + 128].reshape(len(blocks), -1, 2, 16)
        blocks[:, -table.block // 2 :] = (places[:, :, 0] | places[:, :, 1] << 4).reshape(len(blocks), -1)
        return blocks.reshape(raw.shape)
    places = _places(kind)[_keys(kind, np.abs(each).reshape(-1, table.width))].reshape(len(blocks), -1)
    _pack(kind, blocks, places, each < 0)
    return blocks.reshape(raw.shape)


def _keys(kind: str, magnitudes: Any) -> Any:
    """Return a number for each entry's magnitudes [entries, width]: the levels as digits."""
    import numpy as np

    levels = np.unique(grid(kind)).astype(np.int16)
    digits = np.searchsorted(levels, magnitudes.astype(np.int16))
    return digits @ (len(levels) ** np.arange(TABLES[kind].width))


@cache
def _places(kind: str) -> Any:
    """Return the place in the table by the entry's key."""
    import numpy as np

    table = grid(kind)
    found = np.zeros(len(np.unique(table)) ** table.shape[1], np.uint16)
    found[_keys(kind, table)] = np.arange(len(table), dtype=np.uint16)
    return found


@cache
def _scalar_places() -> Any:
    """Return the place of each of the sixteen values, by value + 128."""
    import numpy as np

    found = np.zeros(256, np.uint8)
    found[grid("IQ4_NL")[:, 0].astype(np.int16) + 128] = np.arange(16, dtype=np.uint8)
    return found


def _bits(packed: Any, count: int = 8) -> Any:
    """Return the low bits of integers [..., n] as booleans [..., n * count]."""
    import numpy as np

    shifts = np.arange(count, dtype=packed.dtype)
    found = (packed[..., None] >> shifts & 1).astype(bool)
    return found.reshape(*packed.shape[:-1], -1)


def _even_signs(seven: Any) -> Any:
    """Return eight signs for seven bits each: the last makes the number of negative ones even."""
    import numpy as np

    found = _bits(seven, 7).reshape(len(seven), -1, 7)
    last = np.logical_xor.reduce(found, 2, keepdims=True)
    return np.concatenate([found, last], 2).reshape(len(seven), -1)


def _seven(negative: Any) -> Any:
    """Return the first seven of every eight signs [blocks, columns] as integers: the inverse of `_even_signs`."""
    import numpy as np

    return negative.reshape(len(negative), -1, 8)[:, :, :7] @ (1 << np.arange(7, dtype=np.uint32))


_SHIFTS = (0, 7, 14, 21)


def _unpacked(kind: str, blocks: Bytes) -> tuple[Any, Any]:
    """Return places in the table [blocks, entries], and which weights are negative [blocks, weights], or None."""
    import numpy as np

    def words(part: Any, kind: Any) -> Any:
        return np.ascontiguousarray(part).view(kind)

    if TABLES[kind].width == 1:
        low = blocks[:, -TABLES[kind].block // 2 :].reshape(len(blocks), -1, 1, 16)
        return np.concatenate([low & 15, low >> 4], 2).reshape(len(blocks), -1), None
    if kind == "IQ2_XXS":
        pairs = words(blocks[:, 2:], "<u4").reshape(len(blocks), 8, 2)
        seven = pairs[:, :, 1:] >> np.array(_SHIFTS, np.uint32) & 127
        places = words(pairs[:, :, :1], np.uint8)
        return places.reshape(len(blocks), -1), _even_signs(seven.reshape(len(blocks), -1))
    if kind == "IQ2_XS":
        both = words(blocks[:, 2:66], "<u2")
        return both & 511, _even_signs(both >> 9)
    if kind == "IQ3_XXS":
        seven = words(blocks[:, 66:], "<u4")[:, :, None] >> np.array(_SHIFTS, np.uint32) & 127
        return blocks[:, 2:66], _even_signs(seven.reshape(len(blocks), -1))
    if kind == "IQ3_S":
        high = _bits(blocks[:, 66:74]).astype(np.uint16)
        return blocks[:, 2:66] | high << 8, _bits(blocks[:, 74:106])
    high = (blocks[:, 66:74, None] >> np.array([0, 2, 4, 6], np.uint8) & 3).astype(np.uint16)
    return blocks[:, 2:34] | high.reshape(len(blocks), -1) << 8, _bits(blocks[:, 34:66])


def _pack(kind: str, blocks: Bytes, places: Any, negative: Any) -> None:
    """Write places and signs to blocks, in place: the inverse of `_unpacked`."""
    import numpy as np

    count = len(blocks)

    def raw(words: Any) -> Bytes:
        return np.ascontiguousarray(words).reshape(count, -1).view(np.uint8)

    if kind in ("IQ2_XXS", "IQ3_XXS"):
        seven = _seven(negative).reshape(count, 8, 4) << np.array(_SHIFTS, np.uint32)
        signs = np.bitwise_or.reduce(seven.astype("<u4"), 2)
        if kind == "IQ3_XXS":
            kept = np.ascontiguousarray(blocks[:, 66:]).view("<u4") >> 28 << 28
            blocks[:, 2:66], blocks[:, 66:] = places.astype(np.uint8), raw(kept | signs)
            return
        pairs = np.ascontiguousarray(blocks[:, 2:]).view("<u4").reshape(count, 8, 2)
        first = np.ascontiguousarray(places.astype(np.uint8)).view("<u4")
        blocks[:, 2:] = raw(np.stack([first, pairs[:, :, 1] >> 28 << 28 | signs], 2))
    elif kind == "IQ2_XS":
        blocks[:, 2:66] = raw((places | _seven(negative) << 9).astype("<u2"))
    else:
        width = len(places[0])
        blocks[:, 2 : 2 + width] = places.astype(np.uint8)
        high = places >> 8
        if kind == "IQ3_S":
            blocks[:, 66:74] = np.packbits(high.astype(np.uint8), 1, "little")
            blocks[:, 74:106] = np.packbits(negative, 1, "little")
        else:
            twos = high.reshape(count, 8, 4).astype(np.uint8) << np.array([0, 2, 4, 6], np.uint8)
            blocks[:, 66:74] = np.bitwise_or.reduce(twos, 2)
            blocks[:, 34:66] = np.packbits(negative, 1, "little")
