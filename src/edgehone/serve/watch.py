"""Watch a running engine: notice that it ended, was stopped, or hangs, and leave one alone that only computes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, Protocol

from edgehone.core.errors import JobError

# Every so many seconds the process is looked at; after so many without a sign of it a canary is sent.
LOOK_SECONDS, QUIET_SECONDS = 0.25, 5.0
# An engine that has not answered the canary is ended after so many seconds in which it computed less than that share of
# one processor. One that computes may be reading a long prompt, which on a small board takes minutes; its requests have
# deadlines of their own.
SILENT_SECONDS, LEAST_SHARE = 30.0, 0.1
# A process that was stopped by a signal is ended after so many seconds.
STOPPED_SECONDS = 10.0


class Watched(Protocol):
    """What is looked at of an engine's process."""

    ended: asyncio.Task[str]
    last_sign: float

    @property
    def stopped(self) -> bool:
        """Whether it was stopped by a signal."""
        ...

    @property
    def computed(self) -> float:
        """Seconds of processor time that its processes took."""
        ...


async def watch(
    process: Watched, beat: Callable[[], Coroutine[Any, Any, None]], tell: Callable[[str | None], None]
) -> NoReturn:
    """Watch until the process ends or has to be ended; raises JobError with the reason.

    `beat` asks for a part of a canary, without a limit of time; it raises JobError if the answer is wrong. `tell` is
    called with what is wrong when that changes, and with None when it is well again.
    """
    watching = _Watching(process, beat, tell)
    try:
        while True:
            await asyncio.wait(watching.awaited, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            watching.look()
    finally:
        watching.forget_canary()


class _Watching:
    def __init__(
        self,
        process: Watched,
        beat: Callable[[], Coroutine[Any, Any, None]],
        tell: Callable[[str | None], None],
    ) -> None:
        self._process, self._beat, self._tell = process, beat, tell
        self._canary: asyncio.Task[None] | None = None
        self._stopped_since: float | None = None
        self._computed, self._since = 0.0, 0.0  # of the last time that it was seen to compute

    @property
    def awaited(self) -> set[asyncio.Task[Any]]:
        """What may happen before the next look."""
        return {self._process.ended, *([self._canary] if self._canary else [])}

    def look(self) -> None:
        """Look once. Raises JobError if the process ended or has to be ended."""
        now = asyncio.get_running_loop().time()
        if self._process.ended.done():
            raise JobError(self._process.ended.result())
        if self._process.stopped:
            self._look_at_stopped(now)
        elif self._canary is not None:
            self._look_at_canary(now)
        elif self._stopped_since is not None or now - self._process.last_sign > QUIET_SECONDS:
            self._canary = asyncio.create_task(self._beat())
            self._computed, self._since = self._process.computed, now

    def forget_canary(self) -> None:
        """Wait no longer for the canary."""
        if self._canary:
            self._canary.cancel()

    def _look_at_stopped(self, now: float) -> None:
        if self._stopped_since is None:
            self._stopped_since = now
            self._tell("the engine is stopped by a signal")
        elif now - self._stopped_since > STOPPED_SECONDS:
            raise JobError(f"it was stopped by a signal for {STOPPED_SECONDS:.0f} s")
        self._since = now  # it cannot compute meanwhile

    def _look_at_canary(self, now: float) -> None:
        assert self._canary is not None
        if self._canary.done():
            canary, self._canary = self._canary, None
            canary.result()
            if self._stopped_since is not None:
                self._stopped_since = None
                self._tell(None)
        elif now - self._since > SILENT_SECONDS:
            computed = self._process.computed
            if computed - self._computed < LEAST_SHARE * SILENT_SECONDS:
                raise JobError(
                    f"it did not answer a canary within {SILENT_SECONDS:.0f} s, and did not compute"
                )
            self._computed, self._since = computed, now
