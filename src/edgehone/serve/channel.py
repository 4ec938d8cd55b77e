"""Questions to a service, and its answers, matched by their numbers.

A service answers one question after another. They are sent at once all the same: so it finds the next one when it has
answered, and need not wait until this process has been woken and has sent it.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from edgehone.core.errors import JobError
from edgehone.serve.lines import Lines

_decode = msgspec.json.Decoder().decode


class Unheard(JobError):
    """A service ended before it came to the question, which can be asked again of another one."""


@dataclass(frozen=True)
class _Asked:
    answer: asyncio.Future[dict[str, Any]]
    seconds: float


class Channel:
    """The parent's end of a service's socket. `receive` is called with each message without an id: no answer."""

    def __init__(self, receive: Callable[[dict[str, Any]], None]) -> None:
        self._receive = receive
        self._numbers = itertools.count(1)
        # What was sent and is not answered, in this order: the service is at the first.
        self._asked: dict[int, _Asked] = {}
        self._since = 0.0  # when it came to the first, on the loop's clock
        self._timer: asyncio.TimerHandle | None = None
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

        Raises TimeoutError if the service has worked at it for some seconds; JobError if it ends while it does, or has
        ended before; Unheard if it ends while it works at an earlier one.
        """
        number, loop = next(self._numbers), asyncio.get_running_loop()
        self._lines.send({"id": number, **message})
        if not self._asked:
            self._since = loop.time()
        asked = self._asked[number] = _Asked(loop.create_future(), seconds)
        if self._timer is None:
            self._timer = loop.call_at(self._since + seconds, self._look)
        # One that is cancelled stays among them: the service is at it, or comes to it.
        return await asked.answer

    def close(self) -> None:
        """Fail what was asked, and send no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for place, asked in enumerate(self._asked.values()):
            if not asked.answer.done():
                asked.answer.set_exception((Unheard if place else JobError)("the service has ended"))
        self._asked.clear()
        self._lines.close()

    def _look(self) -> None:
        """Fail the question that the service has worked at for too long. One timer serves all that are asked."""
        self._timer = None
        if not self._asked:
            return
        first, loop = next(iter(self._asked.values())), asyncio.get_running_loop()
        if loop.time() < (due := self._since + first.seconds):
            self._timer = loop.call_at(due, self._look)
        elif not first.answer.done():
            first.answer.set_exception(TimeoutError())

    def _received(self, line: bytes) -> None:
        message = _decode(line)
        if "id" not in message:
            self._receive(message)
            return
        asked = self._asked.pop(message["id"], None)
        self._since = asyncio.get_running_loop().time()
        if asked is None:
            return
        if self._asked and self._timer is None:
            self._look()
        if not asked.answer.done():  # else who asked has left
            asked.answer.set_result(message)
