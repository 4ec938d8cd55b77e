"""A started engine process: whether it is open, alive or stopped, and why it ended."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import psutil

from edgehone.core.errors import JobError
from edgehone.execution import service
from edgehone.execution.job import Job
from edgehone.serve.threads import surely


class EngineProcess(ABC):
    """An engine process that was started. Each kind of engine has messages of its own."""

    def __init__(self, job: Job) -> None:
        self._ready = asyncio.Event()
        self._processes: Sequence[int] = ()
        self.last_sign = 0.0  # when it last produced something, on the loop's clock
        self._service = service.start(job)
        self.ended = asyncio.create_task(self._watch())

    async def open(self, seconds: float) -> None:
        """Wait until the model is loaded. Raises JobError with the cause if the process ends or takes longer."""
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait([ready, self.ended], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self.ended.done():
            raise JobError(self.ended.result())
        if not self._ready.is_set():
            raise JobError(f"the model was not loaded within {seconds:.0f} s")

    @property
    def processes(self) -> tuple[int, ...]:
        """The ids of its processes."""
        return (self._service.child.pid, *self._processes)

    @property
    def stopped(self) -> bool:
        """Whether a process of the engine was stopped by a signal. Always False on systems without /proc."""
        return any(map(_is_stopped, self.processes))

    @property
    def computed(self) -> float:
        """Seconds of processor time that the processes of the engine took, of those that still run."""
        return sum(map(_computed, self.processes))

    async def end(self, cause: str) -> None:
        """End the process, killed if it still runs. Its requests fail with the cause."""
        self.ended.cancel()
        self._close()  # before the service closes its socket, whose number another connection may then get
        await surely(self._service.end)
        self._fail(cause)

    async def _watch(self) -> str:
        """Receive until the process ends. Returns why it ended."""
        await self._receive(self._service.channel)
        await asyncio.to_thread(_wait, self._service)
        cause = self._service.cause
        self._fail(cause)
        return cause

    def _opened(self, processes: Sequence[int]) -> None:
        """The model is loaded; `processes` compute besides the started one."""
        self._processes = processes
        self._ready.set()

    def _sign(self) -> None:
        """The process has sent something."""
        self.last_sign = asyncio.get_running_loop().time()

    @abstractmethod
    async def _receive(self, end: socket.socket) -> None:
        """Receive messages until the process closes the socket."""

    @abstractmethod
    def _close(self) -> None:
        """Close the socket."""

    @abstractmethod
    def _fail(self, cause: str) -> None:
        """Fail all requests, because the process has ended."""


def _is_stopped(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    except OSError:
        return False  # it has ended
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def _computed(process: int) -> float:
    try:
        times = psutil.Process(process).cpu_times()
    except psutil.Error:
        return 0.0  # it has ended
    return float(times.user + times.system)


def _wait(running: service.Service) -> None:
    """Wait for a process that has closed its socket. It is killed if it does not end by itself."""
    try:
        running.child.wait(2)
    except subprocess.TimeoutExpired:
        running.child.send_signal(signal.SIGKILL)
        running.child.wait()
