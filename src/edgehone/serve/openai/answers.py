"""Answer requests for text, whole or as a stream of events, in the form of chat or of completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.core.errors import EdgehoneError
from edgehone.serve.admission import Hold
from edgehone.serve.http import Events, event, unless_gone
from edgehone.serve.metrics import Metrics
from edgehone.serve.model import LanguageModel, Wanted
from edgehone.serve.openai.choices import Part, answered, first_of, resumed
from edgehone.serve.openai.tool_calls import Call
from edgehone.serve.openai.tools import Tools
from edgehone.serve.record import Record
from edgehone.serve.status import status_of

_encode = msgspec.json.Encoder().encode
DONE = event(b"[DONE]")
# Events with obfuscation are padded to a multiple of so many bytes, which hides the lengths of the tokens.
_BLOCK = 64


@dataclass(frozen=True)
class Form:
    """How answers of one API look: the prefix of their id, and their `object`, whole and as a chunk."""

    prefix: str
    whole: str
    chunk: str
    chat: bool


CHAT = Form("chatcmpl-", "chat.completion", "chat.completion.chunk", chat=True)
COMPLETION = Form("cmpl-", "text_completion", "text_completion", chat=False)


@dataclass
class Answer:
    """One request with its choices. `prompt_tokens` counts each prompt once, however many choices continue it.

    `hold` keeps room for the request until it is admitted. `echoes` has for each choice the text that is told before
    it; without it, none is.
    """

    model: LanguageModel
    form: Form
    wanted: list[Wanted]
    prompt_tokens: int
    hold: Hold
    metrics: Metrics
    record: Record
    tools: Tools | None = None
    usage_at_end: bool = False
    obfuscated: bool = False
    echoes: Sequence[str] = ()
    number: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        """Log-probabilities are written if the engine is asked for them."""
        asked = bool(self.wanted[0].options.get("logprobs"))
        self._logprobs = [_Logprobs(self.form, asked) for _ in self.wanted]
        self._called = [0] * len(self.wanted)  # calls of each choice that were sent
        self.record.id, self.record.ids = self.form.prefix + self.number, self.wanted[0].prompt.ids

    async def whole(self, request: Request) -> Response:
        """Return the answers as one JSON object. Raises what `LanguageModel.answer` raises."""
        found = await unless_gone(request.receive, self._all())
        self.record.prompt_tokens = self.prompt_tokens
        choices = [self._choice(parts) for parts in found]
        tokens = sum(part.piece.tokens for parts in found for part in parts)
        body = {**self._head(self.form.whole), "choices": choices, "usage": self._usage(tokens)}
        return Response(_encode(body), media_type="application/json")

    async def stream(self, request: Request) -> Response:
        """Return the answers as events. Raises what `LanguageModel.answer` raises before the first piece."""
        parts = answered(self.model, self.wanted, self.hold, self.metrics, self.record, self.tools)
        first = await unless_gone(request.receive, first_of(parts))
        self.record.prompt_tokens = self.prompt_tokens
        return Events(self._events(first, parts), self.record)

    async def _all(self) -> list[list[Part]]:
        found: list[list[Part]] = [[] for _ in self.wanted]
        answers = answered(self.model, self.wanted, self.hold, self.metrics, self.record, self.tools)
        async with aclosing(answers) as parts:  # type: ignore[type-var]
            async for part in parts:
                found[part.index].append(part)
        return found

    async def _events(self, first: Part, rest: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        tokens, end = 0, b""
        try:
            if self.form.chat:
                for index in range(len(self.wanted)):
                    begin = {"delta": {"role": "assistant", "content": ""}, "finish_reason": None}
                    yield self._chunk(index, begin)
            for index, text in enumerate(self.echoes):
                yield self._chunk(index, {"text": text, "logprobs": None, "finish_reason": None})
            async with aclosing(resumed(first, rest)) as parts:  # type: ignore[type-var]
                async for part in parts:
                    tokens += part.piece.tokens
                    if part.piece.reason and len(self.wanted) == 1:
                        end = self._piece(part)  # told with the end of the stream, which comes with it
                    elif part.piece.text or part.piece.reason or part.piece.logprobs or part.calls:
                        yield self._piece(part)
        except EdgehoneError as error:
            self.record.status = status_of(error)
            body = {"error": {"message": error.message, "type": "server_error", "param": None, "code": None}}
            yield end + event(_encode(body))
            return
        if self.usage_at_end:
            head = self._head(self.form.chunk)
            end += event(_encode({**head, "choices": [], "usage": self._usage(tokens)}))
        yield end + DONE

    def _piece(self, part: Part) -> bytes:
        piece = part.piece
        content: dict[str, Any] = {"text": piece.text}
        if self.form.chat:
            delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
            if part.calls:
                first = self._called[part.index]
                self._called[part.index] += len(part.calls)
                delta["tool_calls"] = [
                    {"index": at, **_call(call)} for at, call in enumerate(part.calls, first)
                ]
            content = {"delta": delta}
        logprobs = self._logprobs[part.index].of(piece.logprobs)
        return self._chunk(part.index, {**content, "logprobs": logprobs, "finish_reason": piece.reason})

    def _chunk(self, index: int, choice: dict[str, Any]) -> bytes:
        chunk = {**self._head(self.form.chunk), "choices": [{"index": index, **choice}]}
        if self.obfuscated:
            chunk["obfuscation"] = ""
            chunk["obfuscation"] = obfuscation(len(_encode(chunk)))
        return event(_encode(chunk))

    def _choice(self, parts: list[Part]) -> dict[str, Any]:
        index, pieces = parts[-1].index, [part.piece for part in parts]
        text, reason = "".join(piece.text for piece in pieces), pieces[-1].reason
        content: dict[str, Any] = {"text": self.echoes[index] + text if self.echoes else text}
        if self.form.chat:
            calls = [_call(call) for part in parts for call in part.calls]
            message = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
            content = {"message": {**message, **({"tool_calls": calls} if calls else {})}}
        logprobs = self._logprobs[index].of([one for piece in pieces for one in piece.logprobs])
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": reason}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.record.id, "object": kind, "created": self.created, "model": self.model.name}

    def _usage(self, tokens: int) -> dict[str, int]:
        prompt = self.prompt_tokens
        return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}


class _Logprobs:
    """Writes the log-probabilities of a choice, piece by piece; None if they are not asked for."""

    def __init__(self, form: Form, asked: bool) -> None:
        self._form, self._asked = form, asked
        self._offset = 0  # characters before the next token

    def of(self, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        if not self._asked:
            return None
        if self._form.chat:
            return {"content": entries, "refusal": None}
        offsets = []
        for one in entries:
            offsets.append(self._offset)
            self._offset += sum(byte & 0xC0 != 0x80 for byte in one["bytes"])  # the first bytes of characters
        return {
            "tokens": [_legacy(one) for one in entries],
            "token_logprobs": [one["logprob"] for one in entries],
            "top_logprobs": [
                {_legacy(other): other["logprob"] for other in (*one["top_logprobs"], one)} for one in entries
            ],
            "text_offset": offsets,
        }


def _call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{call.number}", "type": "function", "function": function}


def _legacy(entry: Mapping[str, Any]) -> str:
    """Return the text of a token as POST /v1/completions writes it."""
    text = str(entry["token"])
    return text if text.encode() == bytes(entry["bytes"]) else f"bytes:{text}"


def obfuscation(size: int) -> str:
    """Return random characters that fill an event of `size` bytes up to a multiple of 64."""
    return secrets.token_hex(_BLOCK)[: -size % _BLOCK]
