"""A served model: its engine and the queue before it; and how a language model answers a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from edgehone.core.errors import InputError
from edgehone.serve.admission import Admission, Ticket
from edgehone.serve.engine import LanguageEngine
from edgehone.serve.served import Served, ServedLanguage
from edgehone.serve.supervisor import Supervisor
from edgehone.serve.text import Prompts, TextOfAnswer
from edgehone.serve.text_process import TextProcess


@dataclass(frozen=True)
class Wanted:
    """A request in the engine's terms: the ids of the prompt, the most new tokens, stop strings and options."""

    ids: Sequence[int]
    count: int
    stops: Sequence[str]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Piece:
    """A piece of an answer: its text, its number of tokens, and with the last one why it ended ("stop", "length").

    `logprobs` are in the form of the OpenAI API.
    """

    text: str
    tokens: int
    reason: str | None
    logprobs: Sequence[Mapping[str, Any]] = ()


class Model:
    """A bundle that is served: its engine, and the queue before it.

    An unloaded one has no processes; the next request loads it again.
    """

    def __init__(self, served: Served, engine: Supervisor[Any]) -> None:
        self.served, self.name, self.engine = served, served.name, engine
        self.admission = Admission(served.places, served.waiting, served.seconds)
        self._loading = asyncio.Lock()
        self.unloaded = False

    @property
    def problem(self) -> str | None:
        """Why it cannot answer; None if it can."""
        return None if self.unloaded else self.engine.problem

    def start(self) -> None:
        """Start the engine; it gets ready in the background."""
        self.engine.start()

    async def opened(self) -> None:
        """Wait until its processes are ready. Raises JobError with the reason if one does not start."""
        await self.engine.opened()

    async def end(self) -> None:
        """End its processes."""
        await self.engine.end()

    async def unload(self, seconds: float) -> bool:
        """End its processes if it is ready and had no request for so many seconds. Return whether they were."""
        async with self._loading:
            if self.unloaded or self.engine.problem or self.admission.idle_seconds < seconds:
                return False
            self.unloaded = True
            await self.end()
            return True

    async def load(self) -> None:
        """Load an unloaded model again. Raises JobError if its engine does not start."""
        async with self._loading:
            if self.unloaded:
                await asyncio.to_thread(self.served.check)
                self.start()
                await self.opened()
                self.unloaded = False


class LanguageModel(Model):
    """A bundle with a language model, with its text processes.

    Prompts and answers have a process each, so that one that is ended for a prompt takes no answer with it. A bundle
    without a tokenizer.json has one for both, since each opens the artifact for the runtime's own tokenizer.
    """

    served: ServedLanguage
    engine: LanguageEngine

    def __init__(self, served: ServedLanguage, say: Callable[[str], None]) -> None:
        super().__init__(served, LanguageEngine(served, say))
        self._reader = TextProcess(served.text)
        self._writer = TextProcess(served.text) if served.portable else self._reader
        self.prompts = Prompts(self._reader)

    @property
    def problem(self) -> str | None:
        """Why it cannot answer; None if it can."""
        own = super().problem
        return own if own or self.unloaded else self._reader.problem or self._writer.problem

    def start(self) -> None:
        """Start its processes; they get ready in the background."""
        super().start()
        self._reader.start()
        self._writer.start()

    async def opened(self) -> None:
        """Wait until its processes are ready."""
        await super().opened()
        await self._reader.open()
        await self._writer.open()

    async def end(self) -> None:
        """End its processes."""
        await asyncio.gather(super().end(), self._reader.end(), self._writer.end())

    def fitting(self, ids: Sequence[int], count: int | None) -> int:
        """Return the most new tokens after a prompt: `count`, as far as the context has room.

        Raises InputError if the prompt leaves no room for one.
        """
        context = self.engine.context
        if context is None:
            return count or 512
        if len(ids) >= context:
            raise InputError(f"the prompt has {len(ids)} tokens; at most {context} fit")
        return min(count or context, context - len(ids))

    async def answer(self, wanted: Wanted, ticket: Ticket) -> AsyncIterator[Piece]:
        """Yield the answer piece by piece; leaving the loop early frees its place in the engine.

        `ticket` is of this model's admission. Raises TooLate at its deadline, JobError if the engine is not ready or
        fails.
        """
        async with ticket:
            await self.load()
            text = TextOfAnswer(self._writer, await self._writer.open(), wanted.stops)
            produced = self.engine.answer(
                wanted.ids, wanted.count, self.served.ends, wanted.options, ticket.deadline
            )
            try:
                async with aclosing(produced) as parts:  # type: ignore[type-var]
                    async for part in parts:
                        added = await text.add(part)
                        reason = "stop" if added.stopped else part.reason
                        yield Piece(added.text, len(part.ids), reason, added.logprobs)
                        if added.stopped:
                            return
            finally:
                text.close()
