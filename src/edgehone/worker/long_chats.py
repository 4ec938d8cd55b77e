"""Chats of the workload's whole context, made of answered conversations (worker side).

Conversations have some hundred tokens, and a quantized cache or a window of attention that a runtime ignores show only
later. So the conversations are put one after another into the model's chat template, each with the answer that the
original gave to it alone, until the context is full. If they do not fill it, each question begins with a passage of the
evaluation text, as people paste one. Candidates are scored on the tokens of the answers.

Each conversation is in one chat only: a second time the model would copy its answer, which is easy whatever the build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import Tokenizer
from edgehone.core.errors import ModelError
from edgehone.worker.chat_template import read_template, render, shaped, special_tokens

FILE = "long.json"
# The file of the scored tokens of these chats, beside that of the conversations.
TOKENS = "long.npz"
# Windows of the whole length, and the parts of equal length in which the divergence is told.
WINDOWS, PARTS = 4, 4
_LEAST = 2
# Tokens that a passage may take more than its own, since it is tokenized anew with what stands around it.
_EDGES = 2

Message = Mapping[str, str]


@dataclass(frozen=True)
class Answered:
    """A conversation with its answer: its ids, their text and bytes, and the id that ended it, None if it was cut."""

    messages: Sequence[Message]
    ids: Sequence[int]
    text: str
    bytes: Sequence[int]
    end: int | None


@dataclass(frozen=True)
class Chat:
    """The ids of a chat, those among them (by index) that are of answers, and the bytes of each of these."""

    ids: list[int]
    answered: list[int]
    bytes: list[int]

    def head(self, length: int) -> Chat:
        """Return the first ids."""
        count = sum(at < length for at in self.answered)
        return Chat(self.ids[:length], self.answered[:count], self.bytes[:count])


def covers(scored: Sequence[Mapping[str, Any]], context: int) -> bool:
    """Return whether conversations have answers in each part of the context by themselves.

    `scored` are those that `worker.conversations` writes. As many as there would be chats must reach each part.
    """
    edges = list(pairwise(part * context // PARTS for part in range(PARTS + 1)))
    return all(
        sum(one["start"] < end and len(one["ids"]) > begin for one in scored) >= WINDOWS
        for begin, end in edges
    )


def made(
    answered: Sequence[Answered],
    context: int,
    tokenizer: Tokenizer,
    folder: Path,
    passage: Callable[[int, int], str],
) -> dict[str, Any]:
    """Return what long.json holds: `context`, `chats`, whether passages fill them (`filled`), and the `reason` if
    there are none.

    `folder` is the tokenizer's, with the chat template; `passage(begin, end)` the text of those ids of the evaluation
    text. Each chat is {"ids", "answered", "bytes"} of at most `context` ids.
    """
    count = min(WINDOWS, len(answered) // PARTS)
    if count < _LEAST:
        reason = (
            f"{len(answered)} answered conversations are too few for {_LEAST} chats with {PARTS} answers each"
        )
        return none(context, reason)
    writer = _Writer(tokenizer, read_template(folder) or "", special_tokens(folder))
    chats, begin, filled = [], 0, False
    try:
        for at in range(count):
            turns = answered[at::count]
            chat = writer.chat(turns, [""] * len(turns))
            free = (context - len(chat.ids)) // len(turns) - _EDGES
            if free > 0:
                ends = accumulate([free] * len(turns), initial=begin)
                chat = writer.chat(turns, [passage(*part) for part in pairwise(ends)])
                begin, filled = begin + free * len(turns), True
            chats.append(chat.head(context))
    except ModelError as error:
        return none(context, f"a chat of several conversations cannot be written: {error.message}")
    return {
        "context": context,
        "chats": [vars(chat) for chat in chats],
        "filled": filled,
        "reason": None,
    }


def none(context: int, reason: str | None = None) -> dict[str, Any]:
    """Return that there are no chats: they cannot be made, for this reason, or the conversations cover the context."""
    return {"context": context, "chats": [], "filled": False, "reason": reason}


@dataclass(frozen=True)
class _Writer:
    """Writes conversations into one chat. The ids of the answers stay those of the original."""

    tokenizer: Tokenizer
    template: str
    special: Mapping[str, str]

    def chat(self, turns: Sequence[Answered], passages: Sequence[str]) -> Chat:
        """Return the chat of these conversations, each question with its passage in front.

        Raises ModelError for a template that leaves out earlier answers.
        """
        messages, answers = list[Message](), dict[int, Answered]()
        for number, (turn, passage) in enumerate(zip(turns, passages, strict=True)):
            messages += _with_passage(turn.messages, passage, first=number == 0)
            answers[len(messages)] = turn
            messages.append({"role": "assistant", "content": turn.text})
        text = self._rendered(messages)
        written = list(self._found(text, messages, answers))
        if not 0 < min(PARTS, sum(bool(turn.text.strip()) for turn in turns)) <= len(written):
            raise ModelError("the chat template does not write the assistant's earlier answers")
        chat, begin, end = Chat([], [], []), 0, None
        for answer, start, stop in written:
            self._add(chat, text[begin:start], end)
            unseen = 0 if chat.ids else 1  # nothing predicts the first id of a text
            chat.answered.extend(range(len(chat.ids) + unseen, len(chat.ids) + len(answer.ids)))
            chat.ids.extend(answer.ids)
            chat.bytes.extend(answer.bytes[unseen:])
            begin, end = stop, answer.end
        self._add(chat, text[begin:], end)
        return chat

    def _add(self, chat: Chat, between: str, end: int | None) -> None:
        """Add what stands between two answers. An id that ended the first is a decision of the model, too."""
        ids = self.tokenizer.encode(between)[0]
        if ids and ids[0] == end:
            chat.answered.append(len(chat.ids))
            chat.bytes.append(0)
        chat.ids.extend(ids)

    def _found(
        self, text: str, messages: Sequence[Message], answers: Mapping[int, Answered]
    ) -> Iterator[tuple[Answered, int, int]]:
        """Yield each answer that stands in the text, with the places where the template's part before it ends and
        after which the next one begins."""
        at = 0
        for number, message in enumerate(messages):
            wanted = message["content"].strip()
            found = text.find(wanted, at)
            if found < 0 or not wanted:
                continue
            at = found + len(wanted)
            if number in answers:
                prompt = self._rendered(messages[:number])
                asked = text.startswith(prompt) and not text[len(prompt) : found].strip()
                yield answers[number], len(prompt) if asked else found, at

    def _rendered(self, messages: Sequence[Message]) -> str:
        return render(self.template, shaped(self.template, messages, self.special), self.special)


def _with_passage(messages: Sequence[Message], passage: str, *, first: bool) -> list[Message]:
    """Return messages with a passage before the first question. Only the first conversation may instruct the model."""
    found, waiting = list[Message](), bool(passage)
    for message in messages:
        if message["role"] == "system" and not first:
            continue
        if waiting and message["role"] == "user":
            message, waiting = {**message, "content": f"{passage}\n\n{message['content']}"}, False
        found.append(message)
    return found
