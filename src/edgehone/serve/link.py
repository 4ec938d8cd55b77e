"""The connection to the engine process of a backend."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.serving import Produced
from edgehone.core.errors import JobError
from edgehone.execution import service
from edgehone.execution.job import Job
from edgehone.serve.channel import Channel


class Link:
    """An engine process that was started. What it produces is put into a queue for each request."""

    def __init__(self, job: Job) -> None:
        self._channel = Channel(self._received)
        self._queues: dict[int, asyncio.Queue[Produced]] = {}
        self._ready = asyncio.Event()
        self._processes: list[int] = []
        self.options: frozenset[str] = frozenset()
        self.context: int | None = None
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

    def submit(
        self, ids: Sequence[int], count: int, ends: Sequence[int], options: Mapping[str, Any]
    ) -> tuple[int, asyncio.Queue[Produced]]:
        """Send a request. Returns its number and the queue of what it produces; the last entry has a reason."""
        number = self._channel.next_number()
        queue: asyncio.Queue[Produced] = asyncio.Queue()
        self._queues[number] = queue
        message = {
            "id": number,
            "ids": list(ids),
            "count": count,
            "ends": list(ends),
            "options": dict(options),
        }
        try:
            self._channel.send(message)
        except JobError as error:
            queue.put_nowait(Produced(number, [], "error", error.message))
        return number, queue

    def release(self, number: int, *, finished: bool) -> None:
        """Forget a request, and tell the engine unless it has finished it."""
        self._queues.pop(number, None)
        if not finished and not self.ended.done():
            self._channel.send({"cancel": number})

    @property
    def stopped(self) -> bool:
        """Whether a process of the engine was stopped by a signal. Always False on systems without /proc."""
        return any(map(_is_stopped, (self._service.child.pid, *self._processes)))

    async def end(self) -> None:
        """End the process. A process that still runs is killed."""
        self.ended.cancel()
        await asyncio.to_thread(self._service.end)
        self._channel.close()
        self._fail("the engine was ended")

    async def _watch(self) -> str:
        """Receive until the process ends. Returns why it ended."""
        reader = await self._channel.connect(self._service.channel)
        await self._channel.read(reader)
        await asyncio.to_thread(_wait, self._service)
        cause = self._service.cause
        self._fail(cause)
        return cause

    def _received(self, message: dict[str, Any]) -> None:
        self.last_sign = asyncio.get_running_loop().time()
        if message.get("ready"):
            self.options = frozenset(message["options"])
            self._processes, self.context = message["processes"], message["context"]
            self._ready.set()
        for number, ids, reason, error in message.get("produced", ()):
            if queue := self._queues.get(number):
                queue.put_nowait(Produced(number, ids, reason, error))

    def _fail(self, cause: str) -> None:
        for number, queue in self._queues.items():
            queue.put_nowait(Produced(number, [], "error", f"the engine ended: {cause}"))
        self._queues.clear()


def _is_stopped(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    except OSError:
        return False  # it has ended
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def _wait(running: service.Service) -> None:
    """Wait for a process that has closed its socket. It is killed if it does not end by itself."""
    try:
        running.child.wait(2)
    except subprocess.TimeoutExpired:
        running.child.send_signal(signal.SIGKILL)
        running.child.wait()
