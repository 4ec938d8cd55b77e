"""Admit as many requests as an engine answers at the same time, let some wait, and refuse the others at once."""

from __future__ import annotations

import asyncio
import math
import time
from types import TracebackType

from edgehone.core.errors import EdgehoneError

# The longest time, in seconds, after which a refused client is told to come again.
_LATEST = 60


class Full(EdgehoneError):
    """As many requests wait as may. `retry_after` is the number of seconds after which a place is likely."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} requests are waiting, as many as may", hint="send it again later")
        self.retry_after = retry_after


class TooLate(EdgehoneError):
    """A request that was not answered before its deadline."""

    def __init__(self) -> None:
        super().__init__("the request was not answered within the longest time", hint="ask for fewer tokens")


class Admission:
    """The places of one engine, and the queue before them. Requests get places in the order in which they came."""

    def __init__(self, places: int, most_waiting: int, seconds: float) -> None:
        """`seconds` is the longest time of a request, waiting included."""
        self._places, self._seconds = places, seconds
        self.most = places + most_waiting
        self._free = asyncio.Semaphore(places)
        self.waiting = self.running = 0
        self._mean = 1.0  # seconds of a request
        self._last = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """For how many seconds there has been no request."""
        return 0.0 if self.waiting or self.running else time.monotonic() - self._last

    def admit(self, count: int = 1) -> list[Ticket]:
        """Let `count` requests in, all or none. Each enters its ticket, `async with`, or gives it up.

        Raises Full at once if too many wait already.
        """
        if self.running + self.waiting + count > self.most:
            each = self._mean / self._places
            after = math.ceil(each * (self.waiting + count))
            raise Full(self.waiting, max(1, min(_LATEST, after)))
        self.waiting += count
        deadline = asyncio.get_running_loop().time() + self._seconds
        return [Ticket(self, deadline) for _ in range(count)]

    async def enter(self, deadline: float) -> float:
        """Wait for a place. Returns the loop's time. Raises TooLate at the deadline."""
        try:
            if self._free.locked():
                async with asyncio.timeout_at(deadline):
                    await self._free.acquire()
            else:
                await self._free.acquire()  # at once, without the cost of a timer
        except TimeoutError:
            raise TooLate from None
        finally:
            self.waiting -= 1
            self._last = time.monotonic()
        self.running += 1
        return asyncio.get_running_loop().time()

    def leave(self, entered: float) -> None:
        """Free a place that was entered at this time."""
        self.running -= 1
        self._last = time.monotonic()
        self._mean += 0.1 * (asyncio.get_running_loop().time() - entered - self._mean)
        self._free.release()


class Ticket:
    """A request that was admitted. Inside `async with` it has a place; before, it waits for one.

    It must be answered before `deadline`, a time of the loop's clock.
    """

    def __init__(self, admission: Admission, deadline: float) -> None:
        self._admission, self.deadline = admission, deadline
        self._used = False
        self._entered = 0.0

    async def __aenter__(self) -> None:
        """Wait for a place. Raises TooLate at the deadline."""
        self._used = True
        self._entered = await self._admission.enter(self.deadline)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place."""
        self._admission.leave(self._entered)

    def give_up(self) -> None:
        """Leave the queue if the ticket was not used."""
        if not self._used:
            self._used = True
            self._admission.waiting -= 1
