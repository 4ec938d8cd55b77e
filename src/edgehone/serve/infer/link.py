"""The engine process of a graph."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from edgehone.core.errors import InputError, JobError
from edgehone.execution.job import Job
from edgehone.serve.infer.frames import Frames
from edgehone.serve.infer.tensor import Tensor
from edgehone.serve.process import EngineProcess


@dataclass(frozen=True)
class Answer:
    """The outputs of a request, and the number of requests that were answered in one batch with it."""

    outputs: Sequence[Tensor]
    together: int


class GraphLink(EngineProcess):
    """The engine process of a graph. Each request has a future with its answer."""

    def __init__(self, job: Job) -> None:
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._frames = Frames(self._received)
        self.batch = 1  # the most samples of a batch
        self.joining = ""  # why, in a sentence
        self.outputs: Mapping[str, int] = {}  # the axis of the samples, where known
        super().__init__(job)

    async def ask(self, tensors: Sequence[Tensor], outputs: Sequence[str] | None) -> Answer:
        """Return the answer to a request, all outputs or those named. Leaving early cancels the request.

        Raises InputError if the graph cannot answer it, JobError if the engine ends or fails.
        """
        number = next(self._numbers)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self._frames.send({"outputs": outputs}, tensors, number)
            return await future
        finally:
            # Still there: not answered, and the client or the one who asked has left.
            if self._asked.pop(number, None) is not None:
                with suppress(JobError):  # the engine has ended
                    self._frames.send({"cancel": number})

    async def _receive(self, end: socket.socket) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: self._frames, sock=end)
        await self._frames.lost

    def _close(self) -> None:
        self._frames.close()

    def _received(self, number: int, message: dict[str, Any], tensors: list[Tensor]) -> None:
        self._sign()
        if "ready" in message:
            self.batch, self.joining, self.outputs = message["batch"], message["joining"], message["outputs"]
            self._opened(())
            return
        future = self._asked.pop(number, None)
        if future is None or future.done():
            return  # it was cancelled
        if "refused" in message:
            future.set_exception(InputError(message["refused"]))
        elif "error" in message:
            future.set_exception(JobError(f"the engine failed: {message['error']}"))
        else:
            future.set_result(Answer(tensors, message["together"]))

    def _fail(self, cause: str) -> None:
        for future in self._asked.values():
            if not future.done():
                future.set_exception(JobError(f"the engine ended: {cause}"))
        self._asked.clear()
