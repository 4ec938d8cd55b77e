"""The requests that are being answered, so that what they use is kept until they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from starlette.types import ASGIApp, Receive, Scope, Send


class InFlight:
    """The requests that were received and are not answered yet."""

    def __init__(self) -> None:
        self._open: set[asyncio.Event] = set()

    @contextmanager
    def track(self) -> Iterator[None]:
        """Count a request until the block ends."""
        ended = asyncio.Event()
        self._open.add(ended)
        try:
            yield
        finally:
            self._open.discard(ended)
            ended.set()

    async def passed(self, seconds: float) -> None:
        """Wait until every request that is open now has ended, at most so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for ended in tuple(self._open):
                    await ended.wait()


class Tracked:
    """A web application whose requests are counted, but for those of the path `without`."""

    def __init__(self, app: ASGIApp, in_flight: InFlight, without: str) -> None:
        self._app, self._in_flight, self._without = app, in_flight, without

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"].startswith(self._without):
            await self._app(scope, receive, send)
            return
        with self._in_flight.track():
            await self._app(scope, receive, send)
