"""A text process of a bundle, kept running."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from edgehone.core.errors import JobError
from edgehone.execution import service
from edgehone.execution.job import Job
from edgehone.serve.channel import Channel
from edgehone.serve.threads import surely

OPEN_SECONDS = 120.0
# Seconds before a process that could not be started is started again.
_DELAY = 1.0


class TextProcess:
    """A process that turns prompts into ids. It is started again when it ends.

    `problem` says why it cannot answer; None if it can.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._lock = asyncio.Lock()
        self._running: _Running | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.has_template = False
        self.problem: str | None = "the text process is being started"

    @property
    def processes(self) -> tuple[int, ...]:
        """The id of the process, if it runs."""
        return (self._running.service.child.pid,) if self._running else ()

    def start(self) -> None:
        """Keep it running from now on."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())

    async def open(self) -> Channel:
        """Return the connection to it; it is started if it does not run. Raises JobError with the cause if it fails."""
        async with self._lock:
            running = self._running
            if running is None or running.reading.done():
                await self._forget()
                running = await self._started()
            return running.channel

    async def end_now(self, channel: Channel) -> None:
        """End the process with this connection, which takes too long. The next one is started when it is needed."""
        async with self._lock:
            if self._running and self._running.channel is channel:
                await self._forget()

    async def end(self) -> None:
        """End it."""
        if self._keeping:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
            self._keeping = None
        async with self._lock:
            await self._forget()

    async def _keep(self) -> None:
        while True:
            try:
                await self.open()
                assert self._running is not None
                await asyncio.wait([self._running.reading])
                self.problem = "the text process has ended"
            except JobError as error:
                self.problem = error.message
                await asyncio.sleep(_DELAY)

    async def _started(self) -> _Running:
        try:
            self._running = _Running(self._job)
        except OSError as error:  # no room for its files, no further process
            raise JobError(f"the text process cannot be started: {error}") from error
        self.has_template = await self._running.template()
        self.problem = None
        return self._running

    async def _forget(self) -> None:
        ended, self._running = self._running, None
        if ended:
            await ended.end()


class _Running:
    def __init__(self, job: Job) -> None:
        self.service = service.start(job)
        self.ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.channel = Channel(self._received)
        self.reading = asyncio.create_task(self._read())

    async def template(self) -> bool:
        """Wait until it is ready. Returns whether the model has a chat template."""
        either: list[asyncio.Future[Any]] = [self.ready, self.reading]
        await asyncio.wait(either, timeout=OPEN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not self.ready.done():
            raise JobError(f"the tokenizer cannot be loaded: {self.service.cause}")
        return self.ready.result()

    async def end(self) -> None:
        """End the process. What was asked of it fails."""
        self.reading.cancel()
        self.channel.close()
        await surely(self.service.end)

    def _received(self, message: dict[str, Any]) -> None:
        self.ready.set_result(bool(message["template"]))

    async def _read(self) -> None:
        await self.channel.connect(self.service.channel)
        await self.channel.closed()
