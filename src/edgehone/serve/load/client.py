"""A small HTTP client for load. It costs little, and it is the same for the server and for the engine alone."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TOKENS = re.compile(rb'"(?:completion_tokens|tokens_predicted)":\s*(\d+)')
# Bytes of a body that are kept.
_TAIL = 65_536
# A connection that was idle for so many seconds may be one that the server is just closing: uvicorn does after 5 s.
_IDLE_SECONDS = 1.0
JSON = "Content-Type: application/json\r\n"


@dataclass(frozen=True)
class Answered:
    """An answer: its status, the tokens that it says it has, and times on the clock of time.perf_counter.

    `first` is when the first byte of the body came. `tail` are the last bytes of the body, all of one that is shorter.
    """

    status: int
    tokens: int
    begun: float
    first: float
    ended: float
    tail: bytes = b""

    @property
    def seconds(self) -> float:
        """The whole time of the request."""
        return self.ended - self.begun


class Client:
    """A connection to a port of this machine, which is kept alive, or connections to a Unix socket, one a request."""

    def __init__(self, where: int | Path) -> None:
        self._where = where
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._used = 0.0

    async def get(self, path: str) -> Answered:
        """Send a GET request."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    async def post(self, path: str, body: Mapping[str, Any] | bytes, headers: str = JSON) -> Answered:
        """Send a POST request with JSON, or with bytes that `headers` describe."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}"
        return await self._ask(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)

    def close(self) -> None:
        """Close the connection."""
        if self._writer:
            self._writer.close()
        self._reader = self._writer = None

    async def _ask(self, message: bytes) -> Answered:
        begun = time.perf_counter()
        try:
            head = await self._head(message)
        except (ConnectionError, asyncio.IncompleteReadError):
            if begun - self._used < _IDLE_SECONDS:
                raise
            self.close()
            head = await self._head(message)
        first, tail = await self._body(head)
        ended = self._used = time.perf_counter()
        # llama-server closes the connection after a stream without telling.
        if b"connection: close" in head or isinstance(self._where, Path):
            self.close()
        found = _TOKENS.findall(tail)
        return Answered(
            int(head.split(b" ", 2)[1]), int(found[-1]) if found else 0, begun, first, ended, tail
        )

    async def _head(self, message: bytes) -> bytes:
        """Send a request, over a new connection if there is none, and return the head of the answer in lower case."""
        if self._writer is None or self._writer.is_closing():
            self._used = time.perf_counter()
            if isinstance(self._where, int):
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._where)
            else:
                self._reader, self._writer = await asyncio.open_unix_connection(str(self._where))
        assert self._reader is not None
        self._writer.write(message)
        return (await self._reader.readuntil(b"\r\n\r\n")).lower()

    async def _body(self, head: bytes) -> tuple[float, bytes]:
        """Read the body. Returns when its first byte came, and its last bytes."""
        assert self._reader is not None
        length = re.search(rb"content-length: (\d+)", head)
        if length:
            body = await self._reader.readexactly(int(length[1]))
            return time.perf_counter(), body[-_TAIL:]
        first, tail = 0.0, b""
        while size := int(await self._reader.readline(), 16):
            tail = (tail + (await self._reader.readexactly(size + 2))[:-2])[-_TAIL:]
            first = first or time.perf_counter()
        await self._reader.readline()
        return first, tail
