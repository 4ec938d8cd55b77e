"""The engine of a language model, kept running."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from edgehone.backends.serving import Produced
from edgehone.core.errors import InputError, JobError
from edgehone.serve import proof
from edgehone.serve.link import Link
from edgehone.serve.served import ServedLanguage
from edgehone.serve.supervisor import Proof, Supervisor


class LanguageEngine(Supervisor[Link]):
    """The engine of one bundle with a language model."""

    def __init__(self, served: ServedLanguage, say: Callable[[str], None]) -> None:
        super().__init__(served.name, say)
        self._served = served

    @property
    def options(self) -> frozenset[str]:
        """What a request may ask for."""
        return self._process.options if self._process else frozenset()

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt and its answer; None if unknown."""
        known = [one for one in (self._served.context, self._process and self._process.context) if one]
        return min(known, default=None)

    async def answer(
        self, ids: Sequence[int], count: int, ends: Sequence[int], options: Mapping[str, Any]
    ) -> AsyncIterator[Produced]:
        """Yield what the engine produces for a request; leaving the loop early cancels the request.

        Raises InputError if the engine refuses the request, JobError if it is not running, or ends or fails meanwhile.
        """
        link = self._running()
        number, queue = link.submit(ids, count, ends, options)
        finished = False
        try:
            while not finished:
                produced = await queue.get()
                finished = produced.reason is not None
                if produced.reason == "error":
                    raise JobError(produced.error or "the engine failed")
                if produced.reason == "refused":
                    raise InputError(produced.error or "the engine refused the request")
                yield produced
        finally:
            link.release(number, finished=finished)

    def _start(self) -> Link:
        return Link(self._served.engine)

    async def _prove(self, process: Link) -> Proof:
        return await proof.prove(process, self._served.canaries)

    async def _beat(self, process: Link, proven: Proof, seconds: float) -> None:
        await proof.beat(process, self._served.canaries[0], seconds, exact=proven.exact)
