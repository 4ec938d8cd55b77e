"""Messages to and from a service, matched by their numbers."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from edgehone.core.errors import JobError

# A line may hold the ids of a whole prompt.
_LINE_LIMIT = 64 << 20


class Channel:
    """The parent's end of a service's socket. `receive` is called with each message without an id: no answer."""

    def __init__(self, receive: Callable[[dict[str, Any]], None]) -> None:
        self._receive = receive
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    async def connect(self, end: socket.socket) -> asyncio.StreamReader:
        """Use this socket from now on."""
        reader, self._writer = await asyncio.open_unix_connection(sock=end, limit=_LINE_LIMIT)
        return reader

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Receive messages until the service closes the socket. What was asked then fails."""
        try:
            while line := await reader.readline():
                message = self._decode(line)
                if "id" not in message:
                    self._receive(message)
                    continue
                asked = self._asked.pop(message["id"], None)
                if asked is not None and not asked.done():  # else who asked has left
                    asked.set_result(message)
        except (ConnectionError, ValueError):
            pass  # it was killed in the middle of a message
        finally:
            self.close()

    def next_number(self) -> int:
        """Return a number that no other message has."""
        return next(self._numbers)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message. Raises JobError if the service has ended."""
        if self._writer is None or self._writer.is_closing():
            raise JobError("the service has ended")
        self._writer.write(self._encode(message) + b"\n")

    async def ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a message and return its answer.

        Raises JobError if the service ends, TimeoutError after some seconds.
        """
        number = self.next_number()
        asked: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        try:
            self.send({"id": number, **message})
            # Not asyncio.wait_for, which before Python 3.12 loses a cancellation that comes together with the answer.
            async with asyncio.timeout(seconds):
                return await asked
        finally:
            self._asked.pop(number, None)

    def close(self) -> None:
        """Fail what was asked, and send no more."""
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(JobError("the service has ended"))
        self._asked.clear()
        if self._writer is not None:
            self._writer.close()
