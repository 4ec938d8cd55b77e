"""Keep the engine of a bundle running: start it, prove it, watch it, and start it again with back-off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from edgehone.backends.serving import Produced
from edgehone.core.errors import InputError, JobError
from edgehone.serve import proof
from edgehone.serve.link import Link
from edgehone.serve.served import Served

# Seconds to load a model.
OPEN_SECONDS = 600.0
# Seconds before a restart: the first, and the longest of those that double. An engine that ran for some time starts
# over with the first.
FIRST_DELAY, LONGEST_DELAY, STEADY_SECONDS = 0.1, 30.0, 60.0
# Every so many seconds the process is looked at; after so many without a sign of it a canary is sent, which must be
# answered within so many. A long prompt of others may delay the answer: as long as the engine produces, it is well.
LOOK_SECONDS, QUIET_SECONDS, CANARY_SECONDS = 0.25, 5.0, 30.0


class Supervisor:
    """The engine of one bundle. `problem` says why it is not ready; None if it is."""

    def __init__(self, served: Served, say: Callable[[str], None]) -> None:
        self._served, self._say = served, say
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = "the model is being loaded"
        self.restarts = 0
        self.proof: proof.Proof | None = None

    @property
    def options(self) -> frozenset[str]:
        """What a request may ask for."""
        return self._link.options if self._link else frozenset()

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt and its answer; None if unknown."""
        known = [one for one in (self._served.context, self._link and self._link.context) if one]
        return min(known, default=None)

    def start(self) -> None:
        """Start to keep the engine running."""
        self._task = asyncio.create_task(self._keep())

    async def end(self) -> None:
        """End the engine."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def answer(
        self, ids: Sequence[int], count: int, ends: Sequence[int], options: Mapping[str, Any]
    ) -> AsyncIterator[Produced]:
        """Yield what the engine produces for a request; leaving the loop early cancels the request.

        Raises InputError if the engine refuses the request, JobError if it is not running, or ends or fails meanwhile.
        """
        link = self._link
        if link is None or self.problem is not None:
            raise JobError(self.problem or "the engine is not running")
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

    async def _keep(self) -> None:
        loop, delay = asyncio.get_running_loop(), FIRST_DELAY
        while True:
            begun = loop.time()
            try:
                await self._live()
            except JobError as error:
                self.problem = f"the engine failed: {error.message}"
                self._say(f"{self._served.name}: {self.problem}; it is started again")
            delay = FIRST_DELAY if loop.time() - begun > STEADY_SECONDS else min(2 * delay, LONGEST_DELAY)
            await asyncio.sleep(delay)
            self.restarts += 1

    async def _live(self) -> None:
        """Run one process until it ends. Raises JobError with the reason."""
        link = Link(self._served.engine)
        try:
            await link.open(OPEN_SECONDS)
            self.proof = await proof.prove(link, self._served.canaries)
            if not self.proof.holds:
                raise JobError(f"it does not serve what was tested: {self.proof}")
            self._link, self.problem = link, None
            self._say(f"{self._served.name}: ready; {self.proof}")
            await self._watch(link)
        finally:
            self._link = None
            self.problem = self.problem or "the engine has ended"
            await link.end()

    async def _watch(self, link: Link) -> None:
        """Set `problem` while the process is stopped or silent. Raises JobError if it ended or a canary fails."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.wait([link.ended], timeout=LOOK_SECONDS)
            if link.ended.done():
                raise JobError(link.ended.result())
            if link.stopped:
                self.problem = "the engine is stopped by a signal"
            elif self.problem is not None or loop.time() - link.last_sign > QUIET_SECONDS:
                exact = self.proof is not None and self.proof.equal == self.proof.tokens
                await proof.beat(link, self._served.canaries[0], CANARY_SECONDS, exact=exact)
                self.problem = None
