"""Prompts to ids, by the text process of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgehone.core.errors import InputError
from edgehone.serve.channel import Unheard
from edgehone.serve.text_process import TextProcess

# The longest time for a template and a tokenizer. A process that takes longer is ended, and another one started.
SECONDS = 5.0


@dataclass(frozen=True)
class Rendered:
    """The ids of a conversation, how many are before its picture, and whether its texts have control tokens."""

    ids: Sequence[int]
    at: int
    control: bool


class Prompts:
    """Turns prompts into ids. One that takes too long is refused, and fails none of those that wait for it."""

    def __init__(self, process: TextProcess) -> None:
        self._process = process
        self._takes: Mapping[str, bool] = {}

    async def has_template(self) -> bool:
        """Return whether the model has a chat template."""
        await self._process.open()
        return self._process.has_template

    async def conversation(
        self, messages: Sequence[Any], tools: Sequence[Any] = (), picture: str | None = None
    ) -> Rendered:
        """Return messages in the model's chat template, perhaps with a picture, in base64.

        Raises InputError if it cannot be rendered, and for a picture that cannot be read.
        """
        pictured = {} if picture is None else {"picture": picture}
        found = await self._ask({"messages": messages, "tools": tools, **pictured})
        return Rendered(found["ids"], found.get("at", 0), found.get("control", False))

    async def takes(self) -> Mapping[str, bool]:
        """Return whether the chat template writes `tools`, and `calls` with their results, into a prompt."""
        if not self._takes:
            self._takes = await self._ask({"takes": True})
        return self._takes

    async def prompt(self, text: str) -> list[int]:
        """Return the ids of a plain text."""
        return await self._ids({"prompt": text})

    async def text(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens. Raises InputError for ids outside the vocabulary."""
        text: str = (await self._ask({"text": list(ids)}))["text"]
        return text

    async def _ids(self, question: dict[str, Any]) -> list[int]:
        ids: list[int] = (await self._ask(question))["ids"]
        return ids

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        answer = None
        while answer is None:
            channel = await self._process.open()
            try:
                answer = await channel.ask(question, SECONDS)
            except Unheard:
                continue  # an earlier one has ended the process
            except TimeoutError:
                await self._process.end_now(channel)
                raise InputError(
                    f"the prompt took longer than {SECONDS:.0f} s to render and tokenize"
                ) from None
        if "error" in answer:
            raise InputError(answer["error"])
        return answer
