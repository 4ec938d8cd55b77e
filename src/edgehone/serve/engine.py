"""The engine of a language model, kept running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from edgehone.backends.serving import PromptPicture
from edgehone.core.errors import InputError, JobError
from edgehone.serve import proof
from edgehone.serve.admission import TooLate
from edgehone.serve.link import Link, Piece
from edgehone.serve.served import ServedLanguage
from edgehone.serve.supervisor import Proof, Supervisor


class LanguageEngine(Supervisor[Link]):
    """The engine of one bundle with a language model."""

    def __init__(self, served: ServedLanguage, say: Callable[[str], None]) -> None:
        super().__init__(served.name, say, served.check)
        self._served = served
        # What a request may ask for, and what the engine has room for. Both stay while it is restarted or unloaded.
        self.options: frozenset[str] = frozenset()
        self.without: Mapping[
            str, str
        ] = {}  # options that others of its kind have, and why this one does not
        self._context: int | None = None
        self.cache: int | None = None  # the tokens that its KV cache holds of all requests
        self.vocabulary: int | None = None  # the number of ids

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
        options: Mapping[str, Any],
        stops: Sequence[str],
        deadline: float,
    ) -> AsyncIterator[Piece]:
        """Yield what the engine produces for a request; leaving the loop early cancels the request.

        Raises InputError if the engine refuses the request, JobError if it is not running, or ends or fails meanwhile,
        TooLate at the deadline, a time of the loop's clock.
        """
        link = self._running()
        number, queue = link.submit(ids, picture, count, self._served.ends, options, stops)
        late = Piece(reason="error", number=number)
        timer = asyncio.get_running_loop().call_at(deadline, queue.put_nowait, late)
        finished = False
        try:
            while not finished:
                piece = _merged(await queue.get(), queue)
                if piece is late:
                    raise TooLate
                finished = piece.reason is not None
                if piece.reason == "error":
                    raise JobError(piece.error or "the engine failed")
                if piece.reason == "refused":
                    raise InputError(piece.error or "the engine refused the request")
                yield piece
        finally:
            timer.cancel()
            link.release(number, finished=finished)

    def _start(self) -> Link:
        return Link(self._served.engine)

    async def _prove(self, process: Link) -> Proof:
        self.options, self._context, self.cache = process.options, process.context, process.cache
        self.vocabulary, self.without = process.vocabulary, process.without
        return await proof.prove(process, self._served.canaries)

    async def _beat(self, process: Link, proven: Proof) -> None:
        await proof.beat(process, self._served.canaries[0], exact=proven.exact)


def _merged(piece: Piece, queue: asyncio.Queue[Piece]) -> Piece:
    """Return a piece together with all that have come since, so that a busy server handles more at once."""
    if queue.empty():
        return piece
    pieces = [piece]
    while pieces[-1].reason is None and not queue.empty():
        pieces.append(queue.get_nowait())
    if pieces[-1].reason == "error":
        return pieces[-1]
    return replace(
        pieces[-1],
        text="".join(one.text for one in pieces),
        tokens=sum(one.tokens for one in pieces),
        logprobs=[entry for one in pieces for entry in one.logprobs],
    )
