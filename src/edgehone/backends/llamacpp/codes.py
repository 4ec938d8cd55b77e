"""Read and write the integer codes in ggml's quantized blocks.

A weight is `scale * code - zero`. Each weight has a code; each group of 16 or 32 weights has a scale and a zero.
Layouts: block_q4_0, block_q5_0 and block_q2_K to block_q6_K of ggml/src/ggml-common.h, little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

# Bytes per block, weights per block, largest code.
LAYOUTS = {
    "Q4_0": (18, 32, 15),
    "Q5_0": (22, 32, 31),
    "Q2_K": (84, 256, 3),
    "Q3_K": (110, 256, 7),
    "Q4_K": (144, 256, 15),
    "Q5_K": (176, 256, 31),
    "Q6_K": (210, 256, 63),
}


@dataclass(frozen=True)
class Grid:
    """The values of codes: `scale` and `zero`, float32 [rows, columns], and the largest code."""

    scale: Any
    zero: Any
    most: int


def grid(kind: str, raw: Bytes, rows: int) -> Grid:
    """Return the grid of a tensor's bytes. Raises KeyError for a type that is not in LAYOUTS."""
    import numpy as np

    size, _, most = LAYOUTS[kind]
    blocks = raw.reshape(-1, size)
    if kind in ("Q4_0", "Q5_0"):
        scale = np.repeat(half(blocks[:, :2]), 32, 1)
        zero = (8 if kind == "Q4_0" else 16) * scale
    elif kind == "Q2_K":
        scale = np.repeat(half(blocks[:, 80:82]) * (blocks[:, :16] & 15), 16, 1)
        zero = np.repeat(half(blocks[:, 82:84]) * (blocks[:, :16] >> 4), 16, 1)
    elif kind == "Q3_K":
        scale = np.repeat(half(blocks[:, 108:]) * (sixteen_scales(blocks[:, 96:108]) - 32.0), 16, 1)
        zero = 4 * scale
    elif kind == "Q6_K":
        scale = np.repeat(half(blocks[:, 208:]) * blocks[:, 192:208].view(np.int8), 16, 1)
        zero = 32 * scale
    else:
        scales, mins = six_bits(blocks[:, 4:16])
        scale = np.repeat(half(blocks[:, :2]) * scales, 32, 1)
        zero = np.repeat(half(blocks[:, 2:4]) * mins, 32, 1)
    return Grid(scale.reshape(rows, -1).astype(np.float32), zero.reshape(rows, -1).astype(np.float32), most)


def codes(kind: str, raw: Bytes, rows: int) -> Bytes:
    """Return the code of each weight: uint8 [rows, columns]."""
    import numpy as np

    blocks = raw.reshape(-1, LAYOUTS[kind][0])
    if kind in ("Q4_0", "Q5_0"):
        unpacked = np.concatenate([blocks[:, -16:] & 15, blocks[:, -16:] >> 4], 1)
        if kind == "Q5_0":
            unpacked = unpacked | np.unpackbits(blocks[:, 2:6], 1, bitorder="little") << 4
    elif kind in ("Q2_K", "Q3_K"):
        low = blocks[:, 16:80] if kind == "Q2_K" else blocks[:, 32:96]
        unpacked = low.reshape(-1, 2, 1, 32) >> _pairs() & 3
        if kind == "Q3_K":
            third = blocks[:, None, :32] >> np.arange(8, dtype=np.uint8)[:, None] & 1
            unpacked = unpacked.reshape(-1, 8, 32) | third << 2
    elif kind == "Q6_K":
        low, high = blocks[:, :128].reshape(-1, 2, 2, 32), blocks[:, 128:192].reshape(-1, 2, 1, 32)
        four = np.concatenate([low & 15, low >> 4], 2)
        unpacked = four | ((high >> _pairs() & 3) << 4)
    else:
        low = blocks[:, -128:].reshape(-1, 4, 1, 32)
        unpacked = np.concatenate([low & 15, low >> 4], 2).reshape(-1, 8, 32)
        if kind == "Q5_K":
            bits = blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
            unpacked = unpacked | bits << 4
    return np.ascontiguousarray(unpacked.reshape(rows, -1), np.uint8)


def with_codes(kind: str, raw: Bytes, new: Bytes) -> Bytes:
    """Return the tensor's bytes with other codes and the same scales."""
    import numpy as np

    blocks = raw.reshape(-1, LAYOUTS[kind][0]).copy()
    if kind in ("Q4_0", "Q5_0"):
        each = new.reshape(-1, 32)
        blocks[:, -16:] = each[:, :16] & 15 | (each[:, 16:] & 15) << 4
        if kind == "Q5_0":
            blocks[:, 2:6] = np.packbits(each >> 4, 1, bitorder="little")
    elif kind in ("Q2_K", "Q3_K"):
        start = 16 if kind == "Q2_K" else 32
        shifted = (new.reshape(-1, 2, 4, 32) & 3) << _pairs()
        blocks[:, start : start + 64] = np.bitwise_or.reduce(shifted, 2).reshape(-1, 64)
        if kind == "Q3_K":
            third = new.reshape(-1, 8, 32) >> 2 << np.arange(8, dtype=np.uint8)[:, None]
            blocks[:, :32] = np.bitwise_or.reduce(third, 1)
    elif kind == "Q6_K":
        four = new.reshape(-1, 2, 4, 32)
        low, high = four & 15, four >> 4
        blocks[:, :128] = (low[:, :, :2] | low[:, :, 2:] << 4).reshape(-1, 128)
        shifted = high << _pairs()
        blocks[:, 128:192] = np.bitwise_or.reduce(shifted, 2).reshape(-1, 64)
    else:
        pair = new.reshape(-1, 4, 2, 32)
        blocks[:, -128:] = (pair[:, :, 0] & 15 | (pair[:, :, 1] & 15) << 4).reshape(-1, 128)
        if kind == "Q5_K":
            fifth = new.reshape(-1, 8, 32) >> 4 << np.arange(8, dtype=np.uint8)[:, None]
            blocks[:, 16:48] = np.bitwise_or.reduce(fifth, 1)
    return blocks.reshape(raw.shape)


def _pairs() -> Any:
    """Return the places of the four pairs of bits in a byte, for rows of them."""
    import numpy as np

    return np.array([0, 2, 4, 6], np.uint8)[:, None]


def half(raw: Bytes) -> Any:
    """Convert float16 bytes [n, 2] to float32 [n, 1]."""
    import numpy as np

    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def sixteen_scales(raw: Bytes) -> Any:
    """Unpack sixteen 6-bit scales from 12 bytes, as dequantize_row_q3_K of ggml-quants.c does."""
    import numpy as np

    low, high = raw[:, :8], raw[:, 8:]
    fours = np.concatenate([low & 15, low >> 4], 1)
    twos = np.concatenate([high >> shift & 3 for shift in (0, 2, 4, 6)], 1)
    return (fours | twos << 4).astype(np.float32)


def six_bits(raw: Bytes) -> tuple[Any, Any]:
    """Unpack eight 6-bit scales and eight 6-bit minimums from 12 bytes, as get_scale_min_k4 of ggml-quants.c does."""
    import numpy as np

    first, second, third = raw[:, :4], raw[:, 4:8], raw[:, 8:]
    scales = np.concatenate([first & 63, third & 15 | first >> 6 << 4], 1)
    mins = np.concatenate([second & 63, third >> 4 | second >> 6 << 4], 1)
    return scales.astype(np.float32), mins.astype(np.float32)
