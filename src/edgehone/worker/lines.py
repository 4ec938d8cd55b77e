"""Exchange JSON objects, one a line, with the process that started this one, through a socket (worker side)."""

from __future__ import annotations

import json
import queue
import socket
import threading
from typing import Any


class Lines:
    """The socket with the file descriptor `channel`. Messages are received in a thread of their own."""

    def __init__(self, channel: int) -> None:
        self._socket = socket.socket(fileno=channel)
        self._received: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._receive, daemon=True, name="lines").start()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message. A parent that has gone is not an error: this process ends with it."""
        try:
            self._socket.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        except OSError:
            return

    def take(self, *, wait: bool) -> list[dict[str, Any]] | None:
        """Return the messages that have come; with `wait`, at least one. None after the last one."""
        found: list[dict[str, Any]] = []
        while (wait and not found) or not self._received.empty():
            message = self._received.get()
            if message is None:
                self._received.put(None)
                return found or None
            found.append(message)
        return found

    def _receive(self) -> None:
        with self._socket.makefile("rb") as lines:
            try:
                for line in lines:
                    self._received.put(json.loads(line))
            except OSError:
                pass  # the parent has gone
        self._received.put(None)
