"""A served model: its engine and the queue before it; and how a language model answers a request."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from edgehone.backends.serving import PromptPicture
from edgehone.backends.shared.ids import check_ids
from edgehone.core.errors import InputError
from edgehone.serve.admission import Admission, Ticket
from edgehone.serve.engine import LanguageEngine
from edgehone.serve.link import Piece
from edgehone.serve.served import Served, ServedLanguage
from edgehone.serve.shedding import Shedding
from edgehone.serve.supervisor import Supervisor
from edgehone.serve.text import Prompts
from edgehone.serve.text_process import TextProcess


@dataclass(frozen=True)
class Prompt:
    """The ids of a prompt, and the picture between them, which takes so many `positions` of the context.

    `control`: a text of the conversation has control tokens of the chat template.
    """

    ids: Sequence[int]
    picture: PromptPicture | None = None
    positions: int = 0
    control: bool = False

    @property
    def tokens(self) -> int:
        """The tokens that it takes of the context."""
        return len(self.ids) + self.positions


@dataclass(frozen=True)
class Wanted:
    """A request in the engine's terms: the prompt, the most new tokens, stop strings and options."""

    prompt: Prompt
    count: int
    stops: Sequence[str]
    options: Mapping[str, Any]

    @property
    def tokens(self) -> int:
        """The most tokens that it takes of the engine's KV cache."""
        return self.prompt.tokens + self.count


class Model:
    """A bundle that is served: its engine, and the queue before it.

    An unloaded one has no processes; the next request loads it again.
    """

    def __init__(
        self,
        served: Served,
        engine: Supervisor[Any],
        cache: Callable[[], int | None] = lambda: None,
        *,
        sheds: bool = False,
    ) -> None:
        """`cache` tells how many tokens the KV cache of the engine holds, None without a limit.

        With `sheds`, see `Shedding`.
        """
        self.served, self.name, self.engine = served, served.name, engine
        self.id = secrets.token_hex(6)  # of this model: another one under its name has another
        shedding = Shedding(served.places, served.places + served.waiting) if sheds else None
        self.admission = Admission(served.places, served.waiting, served.seconds, cache, shedding=shedding)
        self._loading = asyncio.Lock()
        self.unloaded = False
        self.loads = 0  # so often a request has loaded it again

    @property
    def problem(self) -> str | None:
        """Why it cannot answer; None if it can."""
        return None if self.unloaded else self.engine.problem

    @property
    def processes(self) -> Mapping[str, Sequence[int]]:
        """The ids of its processes, by what they do: "engine" or "text"."""
        return {"engine": self.engine.processes}

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
        if self.served.limits.keep:
            return False
        async with self._loading:
            if self.unloaded or self.engine.problem or self.admission.idle_seconds < seconds:
                return False
            self.unloaded = True
            await self.end()
            return True

    async def load(self) -> None:
        """Load an unloaded model again. Raises JobError if its engine does not start."""
        if not self.unloaded:
            return
        async with self._loading:
            if self.unloaded:
                await asyncio.to_thread(self.served.check)
                self.start()
                await self.opened()
                self.unloaded = False
                self.loads += 1


class LanguageModel(Model):
    """A bundle with a language model, with its text process."""

    served: ServedLanguage
    engine: LanguageEngine

    def __init__(self, served: ServedLanguage, say: Callable[[str], None]) -> None:
        engine = LanguageEngine(served, say)
        # A stated limit of waiting requests holds at any load.
        super().__init__(served, engine, lambda: engine.cache, sheds=served.limits.waiting is None)
        self._reader = TextProcess(served.text)
        self.prompts = Prompts(self._reader)

    @property
    def problem(self) -> str | None:
        """Why it cannot answer; None if it can."""
        own = super().problem
        return own if own or self.unloaded else self._reader.problem

    @property
    def processes(self) -> Mapping[str, Sequence[int]]:
        """The ids of its processes, by what they do."""
        return {**super().processes, "text": self._reader.processes}

    def start(self) -> None:
        """Start its processes; they get ready in the background."""
        super().start()
        self._reader.start()

    async def opened(self) -> None:
        """Wait until its processes are ready."""
        await super().opened()
        await self._reader.open()

    async def end(self) -> None:
        """End its processes."""
        await asyncio.gather(super().end(), self._reader.end())

    def check_ids(self, ids: Sequence[int]) -> None:
        """Raise InputError for an id outside the vocabulary."""
        if (count := self.engine.vocabulary) is not None:
            check_ids(ids, count)

    async def prompt_of(
        self, messages: Sequence[Any], tools: Sequence[Any] = (), picture: str | None = None
    ) -> Prompt:
        """Return a conversation in the model's chat template; `picture` is base64.

        Raises InputError if it cannot be rendered, and for a picture that cannot be read.
        """
        found = await self.prompts.conversation(messages, tools, picture)
        if picture is None:
            return Prompt(found.ids, control=found.control)
        assert self.served.pictures is not None
        positions = self.served.pictures.get("positions", 0)
        return Prompt(found.ids, PromptPicture(found.at, picture), positions, found.control)

    def fitting(self, tokens: int, count: int | None) -> int:
        """Return the most new tokens after a prompt of so many: `count`, as far as the context has room.

        Without `count` they are at most the share of a place in the KV cache, so that others find room beside it.

        Raises InputError if the prompt leaves no room for one.
        """
        context = self.engine.context
        if context is None:
            return count or 512
        if tokens >= context:
            raise InputError(f"the prompt has {tokens} tokens; at most {context} fit")
        cache = self.engine.cache
        share = context if cache is None else max(1, cache // self.served.places)
        return min(count or share, context - tokens)

    async def answer(self, wanted: Wanted, ticket: Ticket) -> AsyncIterator[Piece]:
        """Yield the answer piece by piece; leaving the loop early frees its place in the engine.

        `ticket` is of this model's admission. Raises TooLate at its deadline, JobError if the engine is not ready or
        fails.
        """
        async with ticket:
            await self.load()
            prompt, options = wanted.prompt, wanted.options
            pieces = self.engine.answer(
                prompt.ids, prompt.picture, wanted.count, options, wanted.stops, ticket.deadline
            )
            async with aclosing(pieces) as found:  # type: ignore[type-var]
                async for piece in found:
                    yield piece
