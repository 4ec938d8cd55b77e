"""The server's end of a socket on which a service sends and receives lines."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import msgspec

from edgehone.core.errors import JobError

_encode = msgspec.json.Encoder().encode


class Lines(asyncio.Protocol):
    """Calls `received` with each line. `lost` is done when the service has closed the socket, or was killed."""

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received
        self._parts: list[bytes] = []  # of a line that is not complete
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, end: socket.socket) -> None:
        """Use this socket from now on."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Use this transport from now on."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket was closed."""
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Receive lines, and keep what is left of an incomplete one."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0], self._parts = b"".join([*self._parts, whole[0]]), []
        self._parts.append(rest)
        for line in whole:
            self._received(line)

    def send(self, message: object) -> None:
        """Send a message as JSON. Raises JobError if the service has ended."""
        if self._transport is None or self._transport.is_closing():
            raise JobError("the service has ended")
        self._transport.write(_encode(message) + b"\n")

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.abort()
