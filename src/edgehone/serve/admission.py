"""Admit as many requests as an engine answers at the same time, let some wait, and refuse the others at once.

An engine has so many places, and its KV cache holds so many tokens. A request enters the engine when there is a place
and room in the cache for its prompt and its longest answer, so that no engine runs out of cache while it answers.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from edgehone.core.errors import EdgehoneError
from edgehone.serve.shedding import Shedding

# Longest time, in seconds, in the Retry-After header of a refused request.
_LATEST = 60


class Full(EdgehoneError):
    """As many requests or tokens wait as may. `retry_after` is the number of seconds after which a place is likely."""

    def __init__(self, waiting: str, retry_after: int) -> None:
        super().__init__(f"{waiting} are waiting, as many as may", hint="send it again later")
        self.retry_after = retry_after


class TooLate(EdgehoneError):
    """A request that was not answered before its deadline."""

    def __init__(self) -> None:
        super().__init__("the request was not answered within the longest time", hint="ask for fewer tokens")


class Entered(NamedTuple):
    """When a request entered, and the seconds of all requests that had run before."""

    at: float
    area: float


@dataclass(frozen=True)
class _Waiting:
    tokens: int
    entered: asyncio.Future[None]


class Admission:
    """The places of one engine, and the queue before them. Requests get places in the order in which they came.

    `reading` counts requests whose tokens are not known yet, `waiting` and `running` the others. `reserved` are the
    tokens of those that run.
    """

    def __init__(
        self,
        places: int,
        most_waiting: int,
        seconds: float,
        cache: Callable[[], int | None] = lambda: None,
        *,
        shedding: Shedding | None = None,
    ) -> None:
        """`seconds` is the longest time of a request, waiting included.

        `cache` tells how many tokens the engine's KV cache holds, None without a limit. `shedding` lets fewer requests
        in while many are refused.
        """
        self._places, self._seconds, self._cache = places, seconds, cache
        self.most = places + most_waiting
        self._shedding = shedding
        self._area, self._changed = 0.0, 0.0  # the seconds of all requests that ran so far, and until when
        self._queue: deque[_Waiting] = deque()
        self.waiting = self.running = self.reserved = 0
        self._queued = 0  # the tokens of those that wait
        self.reading = 0
        self._mean = 1.0  # seconds of a request
        self._last = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """For how many seconds there has been no request."""
        return 0.0 if self.waiting or self.running or self.reading else time.monotonic() - self._last

    @property
    def most_tokens(self) -> int | None:
        """The most tokens of all requests that run or wait: of as many caches as those that run take one of."""
        cache = self._cache()
        return None if cache is None else cache * self.most // self._places

    def hold(self) -> Hold:
        """Keep room for a request that is read now. Raises Full if too many wait already.

        A request that is refused anyway is so before its prompt is tokenized, which costs more than all else of it.
        """
        shedding = self._shedding
        full = self._full_of(1, self.most if shedding is None else shedding.most)
        if shedding is not None:
            shedding.came(refused=full)
        if full:
            raise self._full(f"{self.waiting} requests", self.waiting + 1)
        return Hold(self)

    def admit(self, tokens: Sequence[int] = (0,)) -> list[Ticket]:
        """Let requests of so many tokens each in, all or none. Each enters its ticket, `async with`, or gives it up.

        Raises Full at once if too many wait already.
        """
        most, held = self.most_tokens, self.reserved + self._queued
        if self._full_of(len(tokens), self.most):
            raise self._full(f"{self.waiting} requests", self.waiting + len(tokens))
        if most is not None and held + sum(tokens) > most:
            # As long as the requests take that hold as many tokens as are too many.
            share = (held + sum(tokens) - most) / most
            raise self._full(f"requests for {self._queued} tokens", math.ceil(share * self.most))
        self.waiting += len(tokens)
        self._queued += sum(tokens)
        deadline = asyncio.get_running_loop().time() + self._seconds
        return [Ticket(self, one, deadline) for one in tokens]

    async def enter(self, tokens: int, deadline: float) -> Entered:
        """Wait for a place with so many tokens. Raises TooLate at the deadline."""
        if not self._queue and self._has_room(tokens):
            self._take(tokens)  # at once, without the cost of a timer
            return Entered(self._changed, self._area)
        one = _Waiting(tokens, asyncio.get_running_loop().create_future())
        self._queue.append(one)
        try:
            async with asyncio.timeout_at(deadline):
                await one.entered
        except BaseException as error:
            if one in self._queue:
                self._queue.remove(one)
                self.forget(tokens)
            else:  # it got its place just now
                self._free(tokens)
            self._wake()
            if isinstance(error, TimeoutError):
                raise TooLate from None
            raise
        return Entered(self._changed, self._area)

    def leave(self, tokens: int, entered: Entered) -> float:
        """Free a place. Returns for how many seconds it was held."""
        self._free(tokens)
        held = self._changed - entered.at
        self._mean += 0.1 * (held - self._mean)
        if self._shedding is not None and held > 0:
            self._shedding.answered((self._area - entered.area) / held, held)
        self._wake()
        return held

    def forget(self, tokens: int) -> None:
        """Let a request that waits leave."""
        self.waiting -= 1
        self._queued -= tokens
        self._last = time.monotonic()

    def _full_of(self, count: int, most: int) -> bool:
        return self.running + self.waiting + self.reading + count > most

    def _has_room(self, tokens: int) -> bool:
        cache = self._cache()
        # A request that is larger than the cache of an engine that has changed meanwhile runs alone.
        fits = cache is None or self.reserved + tokens <= cache or not self.running
        return self.running < self._places and fits

    def _take(self, tokens: int) -> None:
        self.forget(tokens)
        self._count(1)
        self.reserved += tokens

    def _free(self, tokens: int) -> None:
        self._count(-1)
        self.reserved -= tokens
        self._last = time.monotonic()

    def _count(self, change: int) -> None:
        now = time.monotonic()
        self._area += self.running * (now - self._changed)
        self._changed = now
        self.running += change

    def _wake(self) -> None:
        """Give free places to the first that wait."""
        while self._queue and self._has_room(self._queue[0].tokens):
            one = self._queue.popleft()
            self._take(one.tokens)
            if not one.entered.done():  # else it is just leaving, and frees the place itself
                one.entered.set_result(None)

    def _full(self, waiting: str, before: int) -> Full:
        after = math.ceil(self._mean / self._places * before)
        return Full(waiting, max(1, min(_LATEST, after)))


class Hold:
    """Room for one request until the block ends, or its tokens are known."""

    def __init__(self, admission: Admission) -> None:
        self._admission, self._holds = admission, False

    def __enter__(self) -> Hold:
        """Hold it."""
        self._admission.reading += 1
        self._holds = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go."""
        self._let_go()

    def admit(self, tokens: Sequence[int]) -> list[Ticket]:
        """Let the request in, see `Admission.admit`."""
        self._let_go()
        return self._admission.admit(tokens)

    def _let_go(self) -> None:
        self._admission.reading -= self._holds
        self._holds = False


class Ticket:
    """A request that was admitted. Inside `async with` it has a place; before, it waits for one.

    It must be answered before `deadline`, a time of the loop's clock.
    """

    def __init__(self, admission: Admission, tokens: int, deadline: float) -> None:
        self._admission, self._tokens, self.deadline = admission, tokens, deadline
        self._used = False
        self._entered = Entered(0.0, 0.0)
        self.held = 0.0  # seconds for which it had a place

    async def __aenter__(self) -> None:
        """Wait for a place. Raises TooLate at the deadline."""
        self._used = True
        self._entered = await self._admission.enter(self._tokens, self.deadline)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the place."""
        self.held = self._admission.leave(self._tokens, self._entered)

    def give_up(self) -> None:
        """Leave the queue if the ticket was not used."""
        if not self._used:
            self._used = True
            self._admission.forget(self._tokens)
