"""The requests that are being answered, so that what they use is kept until they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress


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
