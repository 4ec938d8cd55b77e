"""Messages over two pipes: one line of JSON, whose field `bytes` says how many bytes follow the line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

# edgehone sends no longer line. A longer one is the output of something else.
_LONGEST_LINE = 64 << 20


def send(descriptor: int, message: Mapping[str, Any], data: bytes = b"") -> None:
    """Write a message and the bytes that belong to it. Raises BrokenPipeError if the other end is closed."""
    line = json.dumps({**message, "bytes": len(data)}).encode() + b"\n"
    for part in (line, data):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


class Reader:
    """Reads messages from a pipe, and lines that precede the first message."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()

    def line(self) -> bytes | None:
        """Return the next line without its line break; None at the end of the stream."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LONGEST_LINE or not self._read_more():
                return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def message(self) -> tuple[dict[str, Any], bytes] | None:
        """Return the next message and its bytes; None at the end of the stream, also within a message."""
        line = self.line()
        if line is None:
            return None
        message: dict[str, Any] = json.loads(line)
        size = message.pop("bytes")
        while len(self._buffer) < size:
            if not self._read_more():
                return None
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return message, data

    def _read_more(self) -> bool:
        data = os.read(self._descriptor, 1 << 20)
        self._buffer += data
        return bool(data)
