"""Picture files, and requests that show them, for tests of vision-language models."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np

QUESTION = "What is this?"


def png(pixels: Any) -> bytes:
    """Return an RGB picture as a PNG file."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + bytes(row) for row in pixels.astype(np.uint8))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


COLOURS = png(np.arange(60 * 40 * 3).reshape(40, 60, 3) % 251)


def url(content: bytes, kind: str = "png") -> str:
    """Return a file as a data: URL."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def shown(address: str, text: str = QUESTION, **more: Any) -> list[dict[str, Any]]:
    """Return a message with a picture and a text."""
    picture = {"type": "image_url", "image_url": {"url": address, **more}}
    return [{"role": "user", "content": [picture, {"type": "text", "text": text}]}]


# A GIF with two pictures of one pixel.
_PICTURE = b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"
_CONTROL = b"\x21\xf9\4\0\1\0\0\0"
ANIMATED = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + 2 * (_CONTROL + _PICTURE) + b"\x3b"
