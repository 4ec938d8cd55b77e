"""The engine process of a graph."""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

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


class _Asked(NamedTuple):
    """A request that is not answered: its future, and its deadline, a time of the loop's clock."""

    answer: asyncio.Future[Answer]
    deadline: float


class GraphLink(EngineProcess):
    """The engine process of a graph. Each request has a future with its answer."""

    def __init__(self, job: Job) -> None:
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._late: asyncio.TimerHandle | None = None  # one timer serves all requests
        self._late_at = math.inf
        self._frames = Frames(self._received)
        self.batch = 1  # the most samples of a batch
        self.joining = ""  # why, in a sentence
        self.outputs: Mapping[str, int] = {}  # the axis of the samples, where known
        super().__init__(job)

    async def ask(
        self, tensors: Sequence[Tensor], outputs: Sequence[str] | None, deadline: float = math.inf
    ) -> Answer:
        """Return the answer to a request, all outputs or those named. Leaving early cancels the request.

        Raises InputError if the graph cannot answer it, JobError if the engine ends or fails, TimeoutError at the
        deadline, a time of the loop's clock.
        """
        number = next(self._numbers)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = _Asked(future, deadline)
        if deadline < self._late_at:
            self._wake_at(deadline)
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

    def _wake_at(self, deadline: float) -> None:
        if self._late is not None:
            self._late.cancel()
        self._late_at = deadline
        self._late = asyncio.get_running_loop().call_at(deadline, self._look)

    def _look(self) -> None:
        """Fail the requests whose deadline has come."""
        now = asyncio.get_running_loop().time()
        self._late, self._late_at = None, math.inf
        for one in self._asked.values():
            if one.deadline <= now and not one.answer.done():
                one.answer.set_exception(TimeoutError())
        first = min((one.deadline for one in self._asked.values() if one.deadline > now), default=math.inf)
        if first < math.inf:
            self._wake_at(first)

    def _close(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._frames.close()

    def _received(self, number: int, message: dict[str, Any], tensors: list[Tensor]) -> None:
        self._sign()
        if "ready" in message:
            self.batch, self.joining, self.outputs = message["batch"], message["joining"], message["outputs"]
            self._opened(())
            return
        asked = self._asked.pop(number, None)
        if asked is None or asked.answer.done():
            return  # it was cancelled
        future = asked.answer
        if "refused" in message:
            future.set_exception(InputError(message["refused"]))
        elif "error" in message:
            future.set_exception(JobError(f"the engine failed: {message['error']}"))
        else:
            future.set_result(Answer(tensors, message["together"]))

    def _fail(self, cause: str) -> None:
        for one in self._asked.values():
            if not one.answer.done():
                one.answer.set_exception(JobError(f"the engine ended: {cause}"))
        self._asked.clear()
