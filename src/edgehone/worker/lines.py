"""Exchange JSON objects, one a line, with the process that started this one, through a socket (worker side).

Messages wait in the socket until they are taken. A thread that received them would have to be woken for each, and to
wake the one that answers.
"""

from __future__ import annotations

import json
import select
import socket
from typing import Any

_READ_BYTES = 1 << 18
_encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make one for each message


class Lines:
    """The socket with the file descriptor `channel`."""

    def __init__(self, channel: int) -> None:
        self._socket = socket.socket(fileno=channel)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        # Received into one place: the system would have to find and clear memory for each new one of this size.
        self._place = memoryview(bytearray(_READ_BYTES))
        self._parts: list[bytes] = []  # of a line that is not complete
        self._ended = False

    def send(self, message: dict[str, Any]) -> None:
        """Send a message. A parent that has gone is not an error: this process ends with it."""
        try:
            self._socket.sendall(_encode(message).encode() + b"\n")
        except OSError:
            return

    def take(self, *, wait: bool) -> list[dict[str, Any]] | None:
        """Return the messages that have come; with `wait`, at least one. None after the last one."""
        found: list[dict[str, Any]] = []
        while not self._ended and self._poll.poll(None if wait and not found else 0):
            found += self._receive()
        return None if self._ended and not found else found

    def _receive(self) -> list[dict[str, Any]]:
        try:
            data = bytes(self._place[: self._socket.recv_into(self._place)])
        except OSError:
            data = b""  # the parent has gone
        self._ended = not data
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0], self._parts = b"".join([*self._parts, whole[0]]), []
        self._parts.append(rest)
        return [json.loads(line.decode()) for line in whole]
