"""Writes PNG files by hand: the main environment has no library for pictures."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np


def png(pixels: Any, orientation: int | None = None) -> bytes:
    """Return a PNG of grey [height, width] or RGB [height, width, 3] pixels (PNG specification, section 11).

    uint16 pixels have 16 bits, all others 8. `orientation` is that of EXIF, 1 to 8.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    wide = pixels.dtype == np.uint16
    rows = b"".join(
        b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels.astype(">u2" if wide else np.uint8))
    )
    head = struct.pack(">IIBBBBB", width, height, 16 if wide else 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    # One entry of TIFF: the tag 0x0112, one number of 16 bits.
    entry = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, orientation or 1, 0, 0)
    turned = [] if orientation is None else [chunk(b"eXIf", entry)]
    parts = [chunk(b"IHDR", head), *turned, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
