"""The engine process of a language model."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from edgehone.backends.serving import Produced, PromptPicture, TokenLogprobs
from edgehone.core.errors import JobError
from edgehone.execution.job import Job
from edgehone.serve.channel import Channel
from edgehone.serve.process import EngineProcess


class Link(EngineProcess):
    """The engine process of a language model. What it produces is put into a queue for each request."""

    def __init__(self, job: Job) -> None:
        self._channel = Channel(self._received)
        self._queues: dict[int, asyncio.Queue[Produced]] = {}
        self.options: frozenset[str] = frozenset()
        self.context: int | None = None
        self.cache: int | None = None
        super().__init__(job)

    def submit(
        self,
        ids: Sequence[int],
        count: int,
        ends: Sequence[int],
        options: Mapping[str, Any],
        picture: PromptPicture | None = None,
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
            "picture": (picture.at, picture.data) if picture else None,
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
            with suppress(JobError):  # it has just ended
                self._channel.send({"cancel": number})

    async def _receive(self, end: socket.socket) -> None:
        await self._channel.read(await self._channel.connect(end))

    def _close(self) -> None:
        self._channel.close()

    def _received(self, message: dict[str, Any]) -> None:
        self._sign()
        if message.get("ready"):
            self.options, self.context = frozenset(message["options"]), message["context"]
            self.cache = message["cache"]
            self._opened(message["processes"])
        for number, ids, reason, error, logprobs in message.get("produced", ()):
            if queue := self._queues.get(number):
                entries = [TokenLogprobs(*one) for one in logprobs]
                queue.put_nowait(Produced(number, ids, reason, error, entries))

    def _fail(self, cause: str) -> None:
        for number, queue in self._queues.items():
            queue.put_nowait(Produced(number, [], "error", f"the engine ended: {cause}"))
        self._queues.clear()
