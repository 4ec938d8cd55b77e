"""Messages over two pipes: a line of JSON, whose `bytes` says how many follow it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

# No message of ours is longer; what is, is something else's output.
_LONGEST_LINE = 64 << 20


def send(descriptor: int, message: Mapping[str, Any], data: bytes = b"") -> None:
    """Write a message and the bytes with it. Raises BrokenPipeError once the other end is gone."""
    line = json.dumps({**message, "bytes": len(data)}).encode() + b"\n"
    for part in (line, data):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


class Reader:
    """Reads messages from a pipe; `line` also what comes before them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held = bytearray()

    def line(self) -> bytes | None:
        """The next line without its end; None at the end of the stream."""
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > _LONGEST_LINE or not self._more():
                return None
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line

    def message(self) -> tuple[dict[str, Any], bytes] | None:
        """The next message and the bytes with it; None at the end of the stream, or if it is cut there."""
        line = self.line()
        if line is None:
            return None
        told: dict[str, Any] = json.loads(line)
        size = told.pop("bytes")
        while len(self._held) < size:
            if not self._more():
                return None
        data = bytes(self._held[:size])
        del self._held[:size]
        return told, data

    def _more(self) -> bool:
        some = os.read(self._descriptor, 1 << 20)
        self._held += some
        return bool(some)
