"""A hard time-out of whole requests. httpx limits each read and write: a byte now and then would keep it waiting.

A timer shuts the connection's socket down, at which the request that waits for it fails.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import httpx


class Deadline:
    """The sockets of one client, and the time until which its present request may last."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._passed = False

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note the sockets: the callback of httpx's extension `trace`."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            found = info["return_value"].get_extra_info("socket")
            if found is not None:
                self._sockets.add(found)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Run a request within `seconds`. Raises httpx.ReadTimeout when they have passed."""
        self._passed = False
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except httpx.TransportError as error:
            if self._passed:
                raise httpx.ReadTimeout(f"no complete answer in {seconds:g} s") from error
            raise
        finally:
            timer.cancel()

    def _cut(self) -> None:
        self._passed = True
        for one in list(self._sockets):
            with suppress(OSError):  # it is closed already
                socket.socket.shutdown(one, socket.SHUT_RDWR)
