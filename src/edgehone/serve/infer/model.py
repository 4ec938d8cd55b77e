"""A served graph: how it answers a request, whichever way the request came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from edgehone.serve.admission import TooLate
from edgehone.serve.infer.engine import GraphEngine
from edgehone.serve.infer.link import Answer
from edgehone.serve.infer.served import ServedGraph
from edgehone.serve.infer.tensor import Tensor
from edgehone.serve.model import Model
from edgehone.serve.text import Prompts
from edgehone.serve.text_process import TextProcess


class GraphModel(Model):
    """A bundle with a graph."""

    served: ServedGraph
    engine: GraphEngine

    def __init__(self, served: ServedGraph, say: Callable[[str], None]) -> None:
        super().__init__(served, GraphEngine(served, say))
        self._reader = TextProcess(served.text) if served.text else None
        self.prompts = Prompts(self._reader) if self._reader else None

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

    async def infer(self, tensors: Sequence[Tensor], outputs: Sequence[str] | None) -> Answer:
        """Return the outputs of a request that `check` has passed; all, or those named.

        Raises Full if too many requests wait, TooLate after the longest time of a request, InputError if the graph
        cannot answer it, JobError if the engine is not ready or fails.
        """
        (answer,) = await self.infer_all([tensors], outputs)
        return answer

    async def infer_all(
        self, requests: Sequence[Sequence[Tensor]], outputs: Sequence[str] | None
    ) -> list[Answer]:
        """Return the outputs of several requests, which wait for one place and are given to the engine together.

        Raises what `infer` raises, for any of them.
        """
        (ticket,) = self.admission.admit()
        async with ticket:
            await self.load()
            try:
                async with asyncio.timeout_at(ticket.deadline):
                    if len(requests) == 1:
                        return [await self.engine.infer(requests[0], outputs)]
                    return await self._in_parts(requests, outputs)
            except TimeoutError:
                raise TooLate from None

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
