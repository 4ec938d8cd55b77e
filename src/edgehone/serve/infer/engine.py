"""The engine of a graph, kept running, and the proof that it serves the tested artifact."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgehone.core.errors import JobError
from edgehone.serve.infer.link import Answer, GraphLink
from edgehone.serve.infer.served import ServedGraph
from edgehone.serve.infer.tensor import Tensor
from edgehone.serve.supervisor import Proof, Supervisor
from edgehone.worker.closeness import Difference, largest

SECONDS = 120.0


@dataclass(frozen=True)
class GraphProof:
    """How far the outputs of the bundle's canaries are from those of the proven artifact, and how requests are batched.

    The same runtime with the same settings gives the same outputs, but for the order of sums on another processor.
    """

    difference: Difference
    joining: str

    @property
    def holds(self) -> bool:
        """Whether the engine serves the tested artifact."""
        return self.difference.holds

    @property
    def exact(self) -> bool:
        """Whether all outputs are equal."""
        return self.difference.value == 0

    def __str__(self) -> str:
        """Return it in words."""
        if self.exact:
            return f"all outputs of the canaries are equal; {self.joining}"
        value, limit = f"{self.difference.value:.2g}", f"{self.difference.limit:.2g}"
        return (
            f"the output {self.difference.output!r} of the canaries differs by up to {value} of its largest entry "
            f"(allowed: {limit}); {self.joining}"
        )


class GraphEngine(Supervisor[GraphLink]):
    """The engine of one bundle with a graph."""

    def __init__(self, served: ServedGraph, say: Callable[[str], None]) -> None:
        super().__init__(served.name, say, served.check)
        self._served = served

    async def infer(
        self, tensors: Sequence[Tensor], outputs: Sequence[str] | None, deadline: float = math.inf
    ) -> Answer:
        """Return the outputs of a request. Raises what `GraphLink.ask` raises, and JobError if it is not ready."""
        return await self._running().ask(tensors, outputs, deadline)

    def _start(self) -> GraphLink:
        return GraphLink(self._served.engine)

    async def _prove(self, process: GraphLink) -> Proof:
        difference = await self._difference(process, len(self._served.canaries), SECONDS)
        joining = "batches of up to {} samples: {}" if process.batch > 1 else "requests are not batched: {1}"
        return GraphProof(difference, joining.format(process.batch, process.joining))

    async def _beat(self, process: GraphLink, proof: Proof) -> None:
        difference = await self._difference(process, 1, None)
        if not difference.holds:
            raise JobError(
                f"the engine answered a canary wrongly: {difference.output!r} differs by {difference.value:.2g}"
            )

    async def _difference(self, process: GraphLink, count: int, seconds: float | None) -> Difference:
        """Return how far the answers to some canaries are from those of the proven artifact."""
        canaries, found = self._served.canaries[:count], []
        try:
            async with asyncio.timeout(seconds):
                for one in canaries:  # one after another, so that none is joined
                    answer = await process.ask(one.question, None)
                    found.append({tensor.name: tensor.array for tensor in answer.outputs})
        except TimeoutError:
            raise JobError(f"the engine did not answer a canary within {seconds:.0f} s") from None
        return await asyncio.to_thread(largest, [one.answer for one in canaries], found)
