"""Questions to a service, and its answers, matched by their numbers."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from edgehone.core.errors import JobError
from edgehone.serve.lines import Lines

_decode = msgspec.json.Decoder().decode


class Channel:
    """The parent's end of a service's socket. `receive` is called with each message without an id: no answer."""

    def __init__(self, receive: Callable[[dict[str, Any]], None]) -> None:
        self._receive = receive
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._lines = Lines(self._received)

    async def connect(self, end: socket.socket) -> None:
        """Use this socket from now on."""
        await self._lines.connect(end)

    async def closed(self) -> None:
        """Wait until the service closes the socket. What was asked then fails."""
        try:
            await self._lines.lost
        finally:
            self.close()

    async def ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a message and return its answer.

        Raises JobError if the service ends, TimeoutError after some seconds.
        """
        number = next(self._numbers)
        asked: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        try:
            self._lines.send({"id": number, **message})
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
        self._lines.close()

    def _received(self, line: bytes) -> None:
        message = _decode(line)
        if "id" not in message:
            self._receive(message)
            return
        asked = self._asked.pop(message["id"], None)
        if asked is not None and not asked.done():  # else who asked has left
            asked.set_result(message)
