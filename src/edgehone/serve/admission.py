"""Admit as many requests as an engine answers at the same time, let some wait, and refuse the others at once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgehone.core.errors import EdgehoneError

# The longest time, in seconds, after which a refused client is told to come again.
_LATEST = 60


class Full(EdgehoneError):
    """As many requests wait as may. `retry_after` is the number of seconds after which a place is likely."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} requests are waiting, as many as may", hint="send it again later")
        self.retry_after = retry_after


class Admission:
    """The places of one engine, and the queue before them. Requests get places in the order in which they came."""

    def __init__(self, places: int, most_waiting: int) -> None:
        self._places, self._most = places, most_waiting
        self._free = asyncio.Semaphore(places)
        self.waiting = self.running = 0
        self._mean = 1.0  # seconds of a request

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises Full at once if too many wait already."""
        if self._free.locked() and self.waiting >= self._most:
            each = self._mean / self._places
            raise Full(self.waiting, max(1, min(_LATEST, math.ceil(each * (self.waiting + 1)))))
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            yield
        finally:
            self.running -= 1
            self._mean += 0.1 * (loop.time() - begun - self._mean)
            self._free.release()
