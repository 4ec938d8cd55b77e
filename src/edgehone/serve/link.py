"""The engine process of a language model."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from edgehone.backends.serving import PromptPicture
from edgehone.core.errors import JobError
from edgehone.execution.job import Job
from edgehone.serve.lines import Lines
from edgehone.serve.process import EngineProcess


class Piece(msgspec.Struct, array_like=True, frozen=True):
    """A piece of an answer, see `worker.answer_text.Piece`: text of so many tokens, or ids if it was asked for those.

    `reason` is set with the last one: "stop", "length", "refused" or "error", as `error` says. `logprobs` are in the
    form of the OpenAI API.
    """

    text: str = ""
    tokens: int = 0
    reason: str | None = None
    logprobs: Sequence[Mapping[str, Any]] = ()
    number: int = 0
    ids: Sequence[int] = ()
    error: str | None = None


class _Message(msgspec.Struct):
    """Messages of the process: when it is ready, and after a step of the engine."""

    produced: Sequence[Piece] = ()
    ready: bool = False
    options: Sequence[str] = ()
    processes: Sequence[int] = ()
    context: int | None = None
    cache: int | None = None
    vocabulary: int | None = None
    without: Mapping[str, str] = {}


_decode = msgspec.json.Decoder(_Message).decode


class Link(EngineProcess):
    """The engine process of a language model. What it produces is put into a queue for each request."""

    def __init__(self, job: Job) -> None:
        self._lines = Lines(self._received)
        self._numbers = itertools.count(1)
        self._queues: dict[int, asyncio.Queue[Piece]] = {}
        self.options: frozenset[str] = frozenset()
        self.context: int | None = None
        self.cache: int | None = None
        self.vocabulary: int | None = None
        self.without: Mapping[str, str] = {}
        super().__init__(job)

    def submit(
        self,
        ids: Sequence[int],
        picture: PromptPicture | None,
        count: int,
        ends: Sequence[int],
        options: Mapping[str, Any],
        stops: Sequence[str] | None,
    ) -> tuple[int, asyncio.Queue[Piece]]:
        """Send a request. Returns its number and the queue of what it produces; the last entry has a reason.

        `stops` are texts that end the answer; None asks for ids instead of text.
        """
        number = next(self._numbers)
        queue: asyncio.Queue[Piece] = asyncio.Queue()
        self._queues[number] = queue
        message = {
            "id": number,
            "ids": ids,
            "count": count,
            "ends": ends,
            "options": options,
            "picture": (picture.at, picture.data) if picture else None,
            "stops": stops,
        }
        try:
            self._lines.send(message)
        except JobError as error:
            queue.put_nowait(Piece(reason="error", number=number, error=error.message))
        return number, queue

    def release(self, number: int, *, finished: bool) -> None:
        """Forget a request, and tell the engine unless it has finished it."""
        self._queues.pop(number, None)
        if not finished and not self.ended.done():
            with suppress(JobError):  # it has just ended
                self._lines.send({"cancel": number})

    async def _receive(self, end: socket.socket) -> None:
        await self._lines.connect(end)
        await self._lines.lost

    def _close(self) -> None:
        self._lines.close()

    def _received(self, line: bytes) -> None:
        self._sign()
        message = _decode(line)
        if message.ready:
            self.options, self.context = frozenset(message.options), message.context
            self.without = message.without
            self.cache, self.vocabulary = message.cache, message.vocabulary
            self._opened(message.processes)
        for piece in message.produced:
            if queue := self._queues.get(piece.number):
                queue.put_nowait(piece)

    def _fail(self, cause: str) -> None:
        for number, queue in self._queues.items():
            queue.put_nowait(Piece(reason="error", number=number, error=f"the engine ended: {cause}"))
        self._queues.clear()
