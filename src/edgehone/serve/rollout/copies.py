"""Copies of answered requests, for a challenger that answers none yet. Nothing of its answers reaches a client.

While a name is in its shadow stage, the body of each request and its answer are kept until the answer is complete; then
the challenger gets the same request. At most some run at a time; further ones are left out, so that copies neither
queue up nor slow down the requests of clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgehone.serve.record import KEY, Record

_MOST = 2
# Bytes of a request, or of an answer, beyond which there is no copy.
_LARGEST = 4 << 20


@dataclass(frozen=True)
class Exchange:
    """A request that was answered: its ASGI scope, body, answer and record."""

    scope: Scope
    body: bytes
    answer: bytes
    record: Record


@dataclass
class Kept:
    """The parts of a body, as long as they are few enough bytes."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, message: Message) -> None:
        """Keep the body of a message."""
        part = message.get("body", b"")
        self.size += len(part)
        if self.size <= _LARGEST:
            self.parts.append(part)

    @property
    def whole(self) -> bytes | None:
        """The body; None if it was too large."""
        return b"".join(self.parts) if self.size <= _LARGEST else None


class Copies:
    """ASGI application that passes requests on, and gives answered ones to `shadows` by the name of their model."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self.shadows: dict[str, Callable[[Exchange], None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if not self.shadows or scope["type"] != "http" or scope["method"] != "POST":
            await self._application(scope, receive, send)
            return
        body, answer = Kept(), Kept()

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                body.add(message)
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.body":
                answer.add(message)
            await send(message)

        await self._application(scope, received, sent)
        record = scope.get(KEY)
        if record is None or body.whole is None or answer.whole is None:
            return
        if shadow := self.shadows.get(record.model):
            shadow(Exchange(scope, body.whole, answer.whole, record))


class Shadow:
    """Sends copies to an application over the challenger, and tells what became of both requests."""

    def __init__(
        self, challenger: ASGIApp, tell: Callable[[Exchange, Record, bytes], None], most: int = _MOST
    ) -> None:
        self._challenger, self._tell, self._most = challenger, tell, most
        self._running: set[asyncio.Task[None]] = set()
        self.left_out = 0

    def __call__(self, exchange: Exchange) -> None:
        """Send a copy, unless enough are under way."""
        if len(self._running) >= self._most:
            self.left_out += 1
            return
        task = asyncio.create_task(self._ask(exchange))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def end(self) -> None:
        """Cancel the copies that are under way."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _ask(self, exchange: Exchange) -> None:
        scope: dict[str, Any] = {name: value for name, value in exchange.scope.items() if name != KEY}
        answer, given = Kept(), False
        never = asyncio.Event()

        async def receive() -> Message:
            nonlocal given
            if given:
                await never.wait()  # the client of a copy never leaves
            given = True
            return {"type": "http.request", "body": exchange.body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                answer.add(message)

        await self._challenger(scope, receive, send)
        if record := scope.get(KEY):
            self._tell(exchange, record, answer.whole or b"")
