"""A server in this process that has the page and gives scripted answers, for what no small model says."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from edgehone.serve.listening import Listening, bind
from edgehone.serve.page.routes import Page


class Scripted:
    """Answers each request for a chat with the next of `answers`: pieces of text, or a response."""

    def __init__(self, models: Sequence[dict[str, Any]]) -> None:
        self.models = models
        self.answers: list[Sequence[str] | Response] = []
        self.asked: list[Any] = []
        self.metrics = ""
        self.state: dict[str, Any] = {"problems": {}, "proofs": {}, "unloaded": []}
        self.url = ""

    def routes(self) -> list[Route]:
        """Return the routes: the page's own, and scripted ones for what it asks."""
        return [
            Route("/models.json", lambda request: JSONResponse({"models": self.models})),
            Route("/readyz", lambda request: JSONResponse(self.state)),
            Route("/metrics", lambda request: PlainTextResponse(self.metrics)),
            Route("/{path:path}", self._answer, methods=["POST"]),
            Route("/v2/models/{name}", self._answer, methods=["GET"]),
            *(Route(one.path, one.handler, methods=[one.method]) for one in Page({}).operations()),
        ]

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        self.asked.append(json.loads(body) if body else request.url.path)
        answer = self.answers.pop(0)
        if isinstance(answer, Response):
            return answer
        return StreamingResponse(_events(answer), media_type="text/event-stream")


async def _events(pieces: Sequence[str]) -> AsyncIterator[bytes]:
    """A stream of an answer; it breaks off after a piece "BREAK"."""
    for piece in pieces:
        if piece == "BREAK":
            return
        chunk = {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
        yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
        await asyncio.sleep(0.005)
    yield b'data: {"choices": [], "usage": {"completion_tokens": %d}}\n\n' % len(pieces)
    yield b"data: [DONE]\n\n"


@contextmanager
def scripted(*models: dict[str, Any]) -> Iterator[Scripted]:
    """Run such a server until the block ends."""
    found, bound = Scripted(models), bind(Listening("127.0.0.1", 0))
    found.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=found.routes()), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield found
    finally:
        server.should_exit = True
        thread.join()
