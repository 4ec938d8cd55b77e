"""A served graph: how it answers a request, whichever way the request came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from edgehone.execution.job import Job
from edgehone.serve.admission import TooLate
from edgehone.serve.http import Refused
from edgehone.serve.infer.engine import GraphEngine
from edgehone.serve.infer.forms import Forms
from edgehone.serve.infer.link import Answer
from edgehone.serve.infer.media import MediaProcess
from edgehone.serve.infer.scores import scores_of
from edgehone.serve.infer.served import ServedGraph
from edgehone.serve.infer.tensor import Tensor
from edgehone.serve.model import Model
from edgehone.serve.record import Record
from edgehone.serve.text import Prompts
from edgehone.serve.text_process import TextProcess


class GraphModel(Model):
    """A bundle with a graph."""

    served: ServedGraph
    engine: GraphEngine

    def __init__(self, served: ServedGraph, say: Callable[[str], None]) -> None:
        super().__init__(served, GraphEngine(served, say))
        self.scores = scores_of(served)
        self.forms = Forms()
        self._reader = TextProcess(served.text) if served.text else None
        self.prompts = Prompts(self._reader) if self._reader else None
        self.media = MediaProcess(served.media) if isinstance(served.media, Job) else None

    @property
    def processes(self) -> Mapping[str, Sequence[int]]:
        """The ids of its processes, by what they do."""
        return {
            **super().processes,
            "text": self._reader.processes if self._reader else (),
            "media": self.media.processes if self.media else (),
        }

    async def opened(self) -> None:
        """Wait until its processes are ready."""
        await super().opened()
        if self._reader:
            await self._reader.open()

    async def end(self) -> None:
        """End its processes."""
        await super().end()
        if self._reader:
            await self._reader.end()
        if self.media:
            await self.media.end()

    async def array(self, files: Sequence[bytes]) -> Tensor:
        """Return pictures or sounds as the graph's input. Raises Refused if the bundle does not say how."""
        if self.media is None:
            raise Refused(400, f"{self.name} takes no files: {self.served.media}")
        return await self.media.array(files)

    async def infer(
        self, tensors: Sequence[Tensor], outputs: Sequence[str] | None, record: Record | None = None
    ) -> Answer:
        """Return the outputs of a request that `check` has passed; all, or those named.

        The record gets the seconds in the engine, and the scores of a classifier if they are among the outputs.

        Raises Full if too many requests wait, TooLate after the longest time of a request, InputError if the graph
        cannot answer it, JobError if the engine is not ready or fails.
        """
        (answer,) = await self.infer_all([tensors], outputs, record)
        if record is not None and self.scores is not None:
            record.scores = next((one for one in answer.outputs if one.name == self.scores), None)
        return answer

    async def infer_all(
        self,
        requests: Sequence[Sequence[Tensor]],
        outputs: Sequence[str] | None,
        record: Record | None = None,
    ) -> list[Answer]:
        """Return the outputs of several requests, which wait for one place and are given to the engine together.

        Raises what `infer` raises, for any of them.
        """
        (ticket,) = self.admission.admit()
        try:
            async with ticket:
                await self.load()
                try:
                    if len(requests) == 1:
                        return [await self.engine.infer(requests[0], outputs, ticket.deadline)]
                    async with asyncio.timeout_at(ticket.deadline):
                        return await self._in_parts(requests, outputs)
                except TimeoutError:
                    raise TooLate from None
        finally:
            if record is not None:
                record.engine_seconds = ticket.held

    async def _in_parts(
        self, requests: Sequence[Sequence[Tensor]], outputs: Sequence[str] | None
    ) -> list[Answer]:
        """Return the outputs of requests, as many at a time as a batch may have."""
        found: list[Answer] = []
        size = self.served.batch
        for begin in range(0, len(requests), size):
            part = requests[begin : begin + size]
            found += await asyncio.gather(*(self.engine.infer(one, outputs) for one in part))
        return found
