"""Answer POST /v1/responses, whole or as a stream of the events of that API."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterator
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
from edgehone.serve.openai.answers import obfuscation
from edgehone.serve.openai.choices import Part, answered, first_of, resumed
from edgehone.serve.openai.responses_requests import ResponsesRequest
from edgehone.serve.openai.tool_calls import Call
from edgehone.serve.openai.tools import Tools
from edgehone.serve.record import Record
from edgehone.serve.status import status_of

_encode = msgspec.json.Encoder().encode


@dataclass
class ResponseAnswer:
    """One request and its response."""

    model: LanguageModel
    asked: ResponsesRequest
    wanted: Wanted
    tools: Tools | None
    hold: Hold
    metrics: Metrics
    record: Record
    number: str = field(default_factory=lambda: secrets.token_hex(24))
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        """Begin with no output."""
        self._output = Output()
        self.record.id, self.record.ids = f"resp_{self.number}", self.wanted.prompt.ids
        self._events = 0

    async def whole(self, request: Request) -> Response:
        """Return the response as one JSON object. Raises what `LanguageModel.answer` raises."""
        await unless_gone(request.receive, self._all())
        self.record.prompt_tokens = self.wanted.prompt.tokens
        return Response(_encode(self._response(self._output.status)), media_type="application/json")

    async def stream(self, request: Request) -> Response:
        """Return the response as events. Raises what `LanguageModel.answer` raises before the first piece."""
        parts = self._parts()
        first = await unless_gone(request.receive, first_of(parts))
        self.record.prompt_tokens = self.wanted.prompt.tokens
        return Events(self._stream(first, parts), self.record)

    def _parts(self) -> AsyncIterator[Part]:
        return answered(self.model, [self.wanted], self.hold, self.metrics, self.record, self.tools)

    async def _all(self) -> None:
        async with aclosing(self._parts()) as parts:  # type: ignore[type-var]
            async for part in parts:
                for _ in self._output.add(part):
                    pass  # only a stream needs the events

    async def _stream(self, first: Part, rest: AsyncIterator[Part]) -> AsyncIterator[bytes]:
        for name in ("created", "in_progress"):
            yield self._event({"type": f"response.{name}", "response": self._response("in_progress")})
        try:
            async with aclosing(resumed(first, rest)) as parts:  # type: ignore[type-var]
                async for part in parts:
                    for change in self._output.add(part):
                        yield self._event(change)
        except EdgehoneError as error:
            self.record.status = status_of(error)
            failed = {**self._response("failed"), "error": {"code": "server_error", "message": error.message}}
            yield self._event({"type": "response.failed", "response": failed})
            return
        status = self._output.status
        yield self._event({"type": f"response.{status}", "response": self._response(status)})

    def _event(self, content: dict[str, Any]) -> bytes:
        content = {**content, "sequence_number": self._events}
        self._events += 1
        options = self.asked.stream_options
        if options and options.include_obfuscation and "delta" in content:
            content["obfuscation"] = obfuscation(len(_encode({**content, "obfuscation": ""})))
        return event(_encode(content), content["type"])

    def _response(self, status: str) -> dict[str, Any]:
        asked = self.asked
        chosen = asked.text.format if asked.text else None
        return {
            "id": self.record.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "model": self.model.name,
            "output": self._output.items,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": asked.temperature,
            "text": {"format": _stated(chosen) if chosen else {"type": "text"}},
            "tool_choice": _stated(asked.tool_choice) or "auto",
            "tools": [_stated(tool) for tool in asked.tools or ()],
            "top_logprobs": asked.top_logprobs or 0,
            "top_p": asked.top_p,
            "truncation": "disabled",
            "usage": None if status == "in_progress" else self._usage(),
            "user": asked.user,
        }

    def _usage(self) -> dict[str, Any]:
        prompt, tokens = self.wanted.prompt.tokens, self._output.tokens
        return {
            "input_tokens": prompt,
            # Tokens that an engine finds in its prefix cache are not told apart.
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + tokens,
        }


class Output:
    """The items of a response, from the parts of an answer. Each change of them is an event."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.tokens = 0
        self.status = "completed"
        self._text: list[str] | None = None  # of the message that is being written
        self._logprobs: list[Any] = []  # of that message
        self._waiting: list[Any] = []  # of tokens whose text has not come yet

    def add(self, part: Part) -> Iterator[dict[str, Any]]:
        """Add a part. Yield what changes."""
        piece = part.piece
        self.tokens += piece.tokens
        self._waiting += piece.logprobs
        if piece.reason == "length":
            self.status = "incomplete"
        if piece.text:
            yield from self._write(piece.text)
        for call in part.calls:
            yield from self._end_text()
            yield from self._call(call)
        if piece.reason is not None:
            if not self.items:
                yield from self._write("")
            yield from self._end_text()

    def _write(self, text: str) -> Iterator[dict[str, Any]]:
        if self._text is None:
            self._text, self._logprobs = [], []
            item = {"id": f"msg_{secrets.token_hex(24)}", "type": "message", "role": "assistant"}
            self.items.append({**item, "status": "in_progress", "content": []})
            yield self._about("output_item.added", item=self.items[-1])
            yield self._in_text("content_part.added", part=_text_part("", []))
        self._text.append(text)
        told, self._waiting = self._waiting, []
        self._logprobs += told
        yield self._in_text("output_text.delta", delta=text, logprobs=told)

    def _end_text(self) -> Iterator[dict[str, Any]]:
        if self._text is None:
            return
        self._logprobs += self._waiting
        part = _text_part("".join(self._text), self._logprobs)
        self._text, self._waiting = None, []
        yield self._in_text("output_text.done", text=part["text"], logprobs=part["logprobs"])
        yield self._in_text("content_part.done", part=part)
        self.items[-1] = {**self.items[-1], "status": self.status, "content": [part]}
        yield self._about("output_item.done", item=self.items[-1])

    def _call(self, call: Call) -> Iterator[dict[str, Any]]:
        name = f"fc_{secrets.token_hex(24)}"
        item = {"id": name, "type": "function_call", "call_id": f"call_{call.number}", "name": call.name}
        self.items.append({**item, "status": "in_progress", "arguments": ""})
        yield self._about("output_item.added", item=self.items[-1])
        yield self._about("function_call_arguments.delta", item_id=name, delta=call.arguments)
        done = {"item_id": name, "name": call.name, "arguments": call.arguments}
        yield self._about("function_call_arguments.done", **done)
        self.items[-1] = {**item, "status": "completed", "arguments": call.arguments}
        yield self._about("output_item.done", item=self.items[-1])

    def _in_text(self, kind: str, /, **content: Any) -> dict[str, Any]:
        return self._about(kind, item_id=self.items[-1]["id"], content_index=0, **content)

    def _about(self, kind: str, /, **content: Any) -> dict[str, Any]:
        return {"type": f"response.{kind}", "output_index": len(self.items) - 1, **content}


def _text_part(text: str, logprobs: list[Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _stated(given: Any) -> Any:
    return msgspec.to_builtins(given)
