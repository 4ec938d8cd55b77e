"""Prompts to ids and ids to text, by the text process of a bundle."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgehone.backends.serving import Produced
from edgehone.core.errors import InputError, JobError
from edgehone.execution import service
from edgehone.execution.job import Job
from edgehone.serve.channel import Channel

OPEN_SECONDS = 120.0
# The longest time for a template and a tokenizer. A process that takes longer is ended, and another one started.
SECONDS = 5.0


class TextProcess:
    """The text process of a bundle. It is started again when it ends."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._lock = asyncio.Lock()
        self._running: _Running | None = None
        self.has_template = False
        self._takes: Mapping[str, bool] = {}

    async def conversation(self, messages: Sequence[Any], tools: Sequence[Any] = ()) -> list[int]:
        """Return the ids of messages in the model's chat template. Raises InputError if it cannot be rendered."""
        return await self._ids({"messages": messages, "tools": tools})

    async def takes(self) -> Mapping[str, bool]:
        """Return whether the chat template writes `tools`, and `calls` with their results, into a prompt."""
        if not self._takes:
            self._takes = await self._ask({"takes": True})
        return self._takes

    async def prompt(self, text: str) -> list[int]:
        """Return the ids of a plain text."""
        return await self._ids({"prompt": text})

    async def stream(self, stops: Sequence[str]) -> TextOfAnswer:
        """Return a new text, to which ids are added."""
        return TextOfAnswer(await self._open(), stops)

    async def open(self) -> None:
        """Start the process. Raises JobError with the cause if it fails."""
        await self._open()

    async def end(self) -> None:
        """End the process."""
        ended, self._running = self._running, None
        if ended:
            await ended.end()

    async def _ids(self, question: dict[str, Any]) -> list[int]:
        ids: list[int] = (await self._ask(question))["ids"]
        return ids

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        running = await self._open()
        try:
            answer = await running.channel.ask(question, SECONDS)
        except TimeoutError:
            await self.end()
            raise InputError(f"the prompt took longer than {SECONDS:.0f} s to render and tokenize") from None
        if "error" in answer:
            raise InputError(answer["error"])
        return answer

    async def _open(self) -> _Running:
        async with self._lock:
            if self._running is None or self._running.reading.done():
                if self._running:
                    await self._running.end()
                    self._running = None
                try:
                    self._running = _Running(self._job)
                except OSError as error:  # no room for its files, no further process
                    raise JobError(f"the text process cannot be started: {error}") from error
                self.has_template = await self._running.template()
            return self._running


@dataclass(frozen=True)
class Added:
    """Text that is certain, whether a stop string was found after it, and the log-probabilities of its tokens.

    The log-probabilities have the form of the OpenAI API: token, logprob, bytes, top_logprobs.
    """

    text: str
    stopped: bool
    logprobs: list[dict[str, Any]]


class TextOfAnswer:
    """The text of an answer, decoded as its ids come."""

    def __init__(self, running: _Running, stops: Sequence[str]) -> None:
        self._channel, self._number = running.channel, running.channel.next_number()
        self._channel.send({"open": self._number, "stop": list(stops)})

    async def add(self, produced: Produced) -> Added:
        """Add the ids of a step of the engine. Return the text that is certain now."""
        logprobs = [[one.token, one.logprob, one.top] for one in produced.logprobs]
        message = {"add": self._number, "ids": produced.ids, "logprobs": logprobs}
        try:
            answer = await self._channel.ask({**message, "last": produced.reason is not None}, SECONDS)
        except TimeoutError:
            raise JobError(f"the text process did not answer within {SECONDS:.0f} s") from None
        if "error" in answer:
            raise JobError(answer["error"])
        return Added(answer["text"], answer["stopped"], answer["logprobs"])

    def close(self) -> None:
        """Forget the text."""
        try:
            self._channel.send({"close": self._number})
        except JobError:
            return  # the process has ended, and forgot it


class _Running:
    def __init__(self, job: Job) -> None:
        self.service = service.start(job)
        self.ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.channel = Channel(lambda message: self.ready.set_result(bool(message["template"])))
        self.reading = asyncio.create_task(self._read())

    async def template(self) -> bool:
        """Wait until it is ready. Returns whether the model has a chat template."""
        either: list[asyncio.Future[Any]] = [self.ready, self.reading]
        await asyncio.wait(either, timeout=OPEN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not self.ready.done():
            raise JobError(f"the tokenizer cannot be loaded: {self.service.cause}")
        return self.ready.result()

    async def end(self) -> None:
        self.reading.cancel()
        self.channel.close()
        await asyncio.to_thread(self.service.end)

    async def _read(self) -> None:
        await self.channel.read(await self.channel.connect(self.service.channel))
