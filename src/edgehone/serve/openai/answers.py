"""Answer requests for text, whole or as a stream of events."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.core.errors import EdgehoneError
from edgehone.serve.http import Events, event, unless_gone
from edgehone.serve.metrics import Metrics
from edgehone.serve.model import LanguageModel, Piece, Wanted

_encode = msgspec.json.Encoder().encode
DONE = event(b"[DONE]")


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
    """One request with its choices, one for each prompt."""

    model: LanguageModel
    form: Form
    wanted: list[Wanted]
    metrics: Metrics
    usage_at_end: bool = False
    number: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self, request: Request) -> Response:
        """Return the answers as one JSON object. Raises what `Model.answer` raises."""
        found = await unless_gone(request, self._all())
        choices = [self._choice(index, pieces) for index, pieces in enumerate(found)]
        tokens = sum(piece.tokens for pieces in found for piece in pieces)
        body = {**self._head(self.form.whole), "choices": choices, "usage": self._usage(tokens)}
        return Response(_encode(body), media_type="application/json")

    async def stream(self, request: Request) -> Response:
        """Return the answers as events. Raises what `Model.answer` raises before the first piece."""
        pieces = self._timed(self.wanted[0])
        first = await unless_gone(request, _next(pieces))
        return Events(self._events(first, pieces))

    async def _all(self) -> list[list[Piece]]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._collect(one)) for one in self.wanted]
        return [task.result() for task in tasks]

    async def _collect(self, wanted: Wanted) -> list[Piece]:
        return [piece async for piece in self._timed(wanted)]

    async def _timed(self, wanted: Wanted) -> AsyncIterator[Piece]:
        """Yield the pieces and count them."""
        name, begun, first, tokens = self.model.name, time.perf_counter(), 0.0, 0
        try:
            async with aclosing(self.model.answer(wanted)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    if not first:
                        first = time.perf_counter()
                        self.metrics.first.labels(name).observe(first - begun)
                    tokens += piece.tokens
                    yield piece
        finally:
            now = time.perf_counter()
            self.metrics.seconds.labels(name).observe(now - begun)
            if tokens > 1:
                self.metrics.token.labels(name).observe((now - first) / (tokens - 1))
            if first:
                self.metrics.prompt_tokens.labels(name).inc(len(wanted.ids))
            self.metrics.generated_tokens.labels(name).inc(tokens)

    async def _events(self, first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
        tokens = 0
        try:
            if self.form.chat:
                yield self._chunk({"delta": {"role": "assistant", "content": ""}, "finish_reason": None})
            async with aclosing(_chain(first, rest)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    tokens += piece.tokens
                    if piece.text or piece.reason:
                        yield self._piece(piece)
        except EdgehoneError as error:
            body = {"error": {"message": error.message, "type": "server_error", "param": None, "code": None}}
            yield event(_encode(body))
            return
        if self.usage_at_end:
            head = self._head(self.form.chunk)
            yield event(_encode({**head, "choices": [], "usage": self._usage(tokens)}))
        yield DONE

    def _piece(self, piece: Piece) -> bytes:
        if not self.form.chat:
            return self._chunk({"text": piece.text, "logprobs": None, "finish_reason": piece.reason})
        delta = {"content": piece.text} if piece.text else {}
        return self._chunk({"delta": delta, "logprobs": None, "finish_reason": piece.reason})

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return event(_encode({**self._head(self.form.chunk), "choices": [{"index": 0, **choice}]}))

    def _choice(self, index: int, pieces: list[Piece]) -> dict[str, Any]:
        text, reason = "".join(piece.text for piece in pieces), pieces[-1].reason
        content: dict[str, Any] = {"text": text}
        if self.form.chat:
            content = {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {"index": index, **content, "logprobs": None, "finish_reason": reason}

    def _head(self, kind: str) -> dict[str, Any]:
        name = self.form.prefix + self.number
        return {"id": name, "object": kind, "created": self.created, "model": self.model.name}

    def _usage(self, tokens: int) -> dict[str, int]:
        prompt = sum(len(one.ids) for one in self.wanted)
        return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}


async def _next(pieces: AsyncIterator[Piece]) -> Piece:
    return await anext(pieces)


async def _chain(first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    async with aclosing(rest) as pieces:  # type: ignore[type-var]
        yield first
        async for piece in pieces:
            yield piece
