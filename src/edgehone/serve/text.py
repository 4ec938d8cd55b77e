"""Prompts to ids, and ids to text, by the text processes of a bundle."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgehone.backends.serving import Produced
from edgehone.core.errors import InputError, JobError
from edgehone.serve.channel import Channel
from edgehone.serve.text_process import TextProcess

# The longest time for a template and a tokenizer. A process that takes longer is ended, and another one started.
SECONDS = 5.0


class Prompts:
    """Turns prompts into ids. They wait for each other, so that one that takes too long ends no other."""

    def __init__(self, process: TextProcess) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self._takes: Mapping[str, bool] = {}

    async def has_template(self) -> bool:
        """Return whether the model has a chat template."""
        await self._process.open()
        return self._process.has_template

    async def conversation(self, messages: Sequence[Any], tools: Sequence[Any] = ()) -> list[int]:
        """Return the ids of messages in the model's chat template. Raises InputError if it cannot be rendered."""
        return await self._ids({"messages": messages, "tools": tools})

    async def with_picture(
        self, messages: Sequence[Any], tools: Sequence[Any], picture: str
    ) -> tuple[list[int], int]:
        """Return the ids of messages with a picture, in base64, and how many are before it.

        Raises InputError if they cannot be rendered, and for a picture that cannot be read.
        """
        found = await self._ask({"messages": messages, "tools": tools, "picture": picture})
        return found["ids"], found["at"]

    async def takes(self) -> Mapping[str, bool]:
        """Return whether the chat template writes `tools`, and `calls` with their results, into a prompt."""
        if not self._takes:
            self._takes = await self._ask({"takes": True})
        return self._takes

    async def prompt(self, text: str) -> list[int]:
        """Return the ids of a plain text."""
        return await self._ids({"prompt": text})

    async def _ids(self, question: dict[str, Any]) -> list[int]:
        ids: list[int] = (await self._ask(question))["ids"]
        return ids

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        async with self._turn:
            channel = await self._process.open()
            try:
                answer = await channel.ask(question, SECONDS)
            except TimeoutError:
                await self._process.end_now(channel)
                raise InputError(
                    f"the prompt took longer than {SECONDS:.0f} s to render and tokenize"
                ) from None
        if "error" in answer:
            raise InputError(answer["error"])
        return answer


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

    def __init__(self, process: TextProcess, channel: Channel, stops: Sequence[str]) -> None:
        """Begin a text that ends before one of the strings `stops`, over an open connection to the process."""
        self._process, self._channel = process, channel
        self._number = channel.next_number()
        channel.send({"open": self._number, "stop": list(stops)})

    async def add(self, produced: Produced) -> Added:
        """Add the ids of a step of the engine. Return the text that is certain now. Raises JobError if it fails."""
        logprobs = [[one.token, one.logprob, one.top] for one in produced.logprobs]
        message = {"add": self._number, "ids": produced.ids, "logprobs": logprobs}
        try:
            answer = await self._channel.ask({**message, "last": produced.reason is not None}, SECONDS)
        except TimeoutError:
            await self._process.end_now(self._channel)
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
