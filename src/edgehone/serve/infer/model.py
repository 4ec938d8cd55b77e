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


class GraphModel(Model):
    """A bundle with a graph."""

    served: ServedGraph
    engine: GraphEngine

    def __init__(self, served: ServedGraph, say: Callable[[str], None]) -> None:
        super().__init__(served, GraphEngine(served, say))

    async def infer(self, tensors: Sequence[Tensor], outputs: Sequence[str] | None) -> Answer:
        """Return the outputs of a request that `check` has passed; all, or those named.

        Raises Full if too many requests wait, TooLate after the longest time of a request, InputError if the graph
        cannot answer it, JobError if the engine is not ready or fails.
        """
        (ticket,) = self.admission.admit()
        async with ticket:
            await self.load()
            try:
                async with asyncio.timeout_at(ticket.deadline):
                    return await self.engine.infer(tensors, outputs)
            except TimeoutError:
                raise TooLate from None
