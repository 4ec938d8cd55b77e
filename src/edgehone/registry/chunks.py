"""Cut large files into chunks whose boundaries depend on the content only, so that similar files share chunks.

A position is a boundary if a hash of the 8 bytes before it is below a threshold. So an insertion moves boundaries with
the bytes around them, and everything after it is cut as before. The hash is a multiplication modulo 2⁶⁴, of which numpy
computes all positions of a buffer at once: slower hashes with longer windows (Rabin, gear) find no better boundaries in
weights, which have no runs of equal bytes worth cutting at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

# Files up to this size are kept whole: they would be one or two chunks.
WHOLE: Final = 1 << 20
# Small enough that a tensor of a small model is several chunks, large enough that a model of 1 GB has 3,000 files.
LEAST: Final = 64 << 10
MEAN: Final = 256 << 10
MOST: Final = 1 << 20
# The two constants and the sizes above fix the boundaries: changing one stores every file anew.
_MULTIPLIER: Final = 0x9E3779B97F4A7C15  # 2⁶⁴ divided by the golden ratio (Knuth, TAOCP 3, 6.4)
_MASK: Final = 0x5851F42D4C957F2D  # keeps runs of zeros from being boundaries
_WINDOW: Final = 8
_BUFFER: Final = 1 << 20
_STRIDE: Final = 128 << 10  # how much is searched at once


def cut(file: BinaryIO) -> Iterator[bytes]:
    """Yield the chunks of a file from its position on. Holds at most 3 MiB."""
    pending = bytearray()
    more = True
    while more or pending:
        while more and len(pending) < MOST:
            data = file.read(_BUFFER)
            more = bool(data)
            pending += data
        length = _boundary(pending)
        if length:
            yield bytes(pending[:length])
            del pending[:length]


def _boundary(pending: bytearray) -> int:
    """Return the length of the first chunk of `pending`, which holds MOST bytes or the rest of the file."""
    end = min(len(pending), MOST)
    for start in range(LEAST, end, _STRIDE):
        stop = min(start + _STRIDE, end)
        found = _first_boundary(bytes(pending[start - _WINDOW : stop]))
        if found is not None:
            return start + found
    return end


def _first_boundary(data: bytes) -> int | None:
    """Return how many bytes after the first 8 of `data` the first boundary is, None if there is none."""
    import numpy as np

    bytes_ = np.frombuffer(data, np.uint8)
    first: int | None = None
    for offset in range(_WINDOW):
        count = (len(bytes_) - offset) // _WINDOW
        words = bytes_[offset : offset + count * _WINDOW].view("<u8")
        hashes = (words ^ np.uint64(_MASK)) * np.uint64(_MULTIPLIER)
        found = np.flatnonzero(hashes < np.uint64((1 << 64) // MEAN))
        if len(found):
            position = offset + int(found[0]) * _WINDOW
            first = position if first is None else min(first, position)
    return first
