"""Keep the engine of a bundle running: start it, prove it, watch it, and start it again with back-off."""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from edgehone.core.errors import JobError
from edgehone.serve.process import EngineProcess
from edgehone.serve.watch import watch

# Seconds to load a model.
OPEN_SECONDS = 600.0
# Seconds before a restart: after an engine that was ready, and the longest of those that double while it does not get
# ready. One that was ready is worth starting again at once, however often it is killed.
FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0
_POLL_SECONDS = 0.05


class Proof(Protocol):
    """The result of a start-up proof; in words by `str`."""

    @property
    def holds(self) -> bool:
        """Whether the engine serves the tested artifact."""
        ...

    @property
    def exact(self) -> bool:
        """Whether nothing differed."""
        ...


Process = TypeVar("Process", bound=EngineProcess)


class Supervisor(ABC, Generic[Process]):
    """The engine of one bundle. `problem` says why it is not ready; None if it is."""

    def __init__(self, name: str, say: Callable[[str], None], check: Callable[[], None]) -> None:
        """`check` raises JobError if the files that the engine would load may not be."""
        self._name, self._say, self._check = name, say, check
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = "the model is being loaded"
        self.restarts = self._failures = 0
        self.ended: str | None = None  # why a process ended the last time
        self._was_ready = False  # whether this process, or the last one, got ready
        self.proof: Proof | None = None

    def start(self) -> None:
        """Start to keep the engine running."""
        self.problem = "the model is being loaded"
        self._task = asyncio.create_task(self._keep())

    @property
    def processes(self) -> tuple[int, ...]:
        """The ids of the processes of an engine that is ready."""
        return self._process.processes if self._process else ()

    async def opened(self) -> None:
        """Wait until the engine is ready. Raises JobError with the reason if it fails before."""
        failures = self._failures
        while self.problem is not None:
            if self._failures > failures:
                raise JobError(self.problem)
            await asyncio.sleep(_POLL_SECONDS)

    async def end(self) -> None:
        """End the engine."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _keep(self) -> None:
        delay = FIRST_DELAY
        while True:
            self._was_ready = False
            try:
                await self._live()
            except (JobError, OSError) as error:  # OSError: no room for its files, no further process
                self.problem, self.ended = f"the engine failed: {error}", str(error)
                self._failures += 1
                self._say(f"{self._name}: {self.problem}; it is started again")
            delay = FIRST_DELAY if self._was_ready else min(2 * delay, LONGEST_DELAY)
            await asyncio.sleep(delay)
            self.restarts += 1

    async def _live(self) -> None:
        """Run one process until it ends. Raises JobError with the reason."""
        await asyncio.to_thread(self._check)
        process, cause = self._start(), "it was ended with the server"
        try:
            await process.open(OPEN_SECONDS)
            self.proof = await self._prove(process)
            if not self.proof.holds:
                raise JobError(f"it does not serve what was tested: {self.proof}")
            # Once more, now that the process has read the files: they may have changed since the first look.
            await asyncio.to_thread(self._check)
            self._process, self.problem, self._was_ready = process, None, True
            self._say(f"{self._name}: ready; {self.proof}")
            await watch(process, functools.partial(self._beat, process, self.proof), self._tell)
        except JobError as error:
            cause = error.message
            raise
        finally:
            self._process = None
            self.problem = self.problem or "the engine has ended"
            await process.end(cause)

    def _tell(self, problem: str | None) -> None:
        self.problem = problem

    def _running(self) -> Process:
        """Return the process if it is ready. Raises JobError with the reason if it is not."""
        if self._process is None or self.problem is not None:
            raise JobError(self.problem or "the engine is not running")
        return self._process

    @abstractmethod
    def _start(self) -> Process:
        """Start the process."""

    @abstractmethod
    async def _prove(self, process: Process) -> Proof:
        """Ask for the canaries. Raises JobError if the process does not answer."""

    @abstractmethod
    async def _beat(self, process: Process, proof: Proof) -> None:
        """Ask for a part of a canary, whenever the answer comes. Raises JobError if it is wrong."""
