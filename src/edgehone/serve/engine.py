"""The engine of a language model, kept running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgehone.backends.serving import Produced, PromptPicture
from edgehone.core.errors import InputError, JobError
from edgehone.serve import proof
from edgehone.serve.admission import TooLate
from edgehone.serve.link import Link
from edgehone.serve.served import ServedLanguage
from edgehone.serve.supervisor import Proof, Supervisor


class LanguageEngine(Supervisor[Link]):
    """The engine of one bundle with a language model."""

    def __init__(self, served: ServedLanguage, say: Callable[[str], None]) -> None:
        super().__init__(served.name, say, served.check)
        self._served = served
        # What a request may ask for, and what the engine has room for. Both stay while it is restarted or unloaded.
        self.options: frozenset[str] = frozenset()
        self._context: int | None = None
        self.cache: int | None = None  # the tokens that its KV cache holds of all requests

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt and its answer; None if unknown."""
        stated = (self._served.context, self._context, self.cache)
        return min((one for one in stated if one), default=None)

    async def answer(
        self,
        ids: Sequence[int],
        picture: PromptPicture | None,
        count: int,
        ends: Sequence[int],
        options: Mapping[str, Any],
        deadline: float,
    ) -> AsyncIterator[Produced]:
        """Yield what the engine produces for a request; leaving the loop early cancels the request.

        Raises InputError if the engine refuses the request, JobError if it is not running, or ends or fails meanwhile,
        TooLate at the deadline, a time of the loop's clock.
        """
        link = self._running()
        number, queue = link.submit(ids, count, ends, options, picture)
        finished = False
        try:
            while not finished:
                try:
                    async with asyncio.timeout_at(deadline):
                        produced = _merged(await queue.get(), queue)
                except TimeoutError:
                    raise TooLate from None
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
        self.options, self._context, self.cache = process.options, process.context, process.cache
        return await proof.prove(process, self._served.canaries)

    async def _beat(self, process: Link, proven: Proof) -> None:
        await proof.beat(process, self._served.canaries[0], exact=proven.exact)


def _merged(produced: Produced, queue: asyncio.Queue[Produced]) -> Produced:
    """Return what was produced together with all that has come since, so that a busy server handles more at once."""
    ids, logprobs = list(produced.ids), list(produced.logprobs)
    while produced.reason is None and not queue.empty():
        produced = queue.get_nowait()
        ids += produced.ids
        logprobs += produced.logprobs
    return replace(produced, ids=ids, logprobs=logprobs)
