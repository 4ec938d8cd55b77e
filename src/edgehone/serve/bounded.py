"""Limits of a connection: the size of a request's head, and the time that it may take to come.

uvicorn limits neither with httptools, and keeps a connection open whose body comes after the answer was sent. What is
refused here never reaches the application, so it has the form of the OpenAI API's errors too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from edgehone.serve.connection import Connection
from edgehone.serve.http import WHOLE, Failure, Problem

# Bytes of a request's first line and headers.
HEAD_BYTES = 32 << 10
# Seconds in which a head must come, from the first byte or from the connection on; and for which the rest of a body is
# still read and thrown away after the answer, so that a client reads the answer before the connection is closed.
HEAD_SECONDS, LINGER_SECONDS = 10.0, 5.0


class _Unfit(Exception):
    """A head that is refused before it has come as a whole."""


def counted(count: Callable[[int], None]) -> type[BoundedConnection]:
    """Return connections that call a function with the status of each request that they refuse."""

    class Counted(BoundedConnection):
        def _refused(self, status: int) -> None:
            count(status)

    return Counted


class BoundedConnection(Connection):
    """A connection with these limits."""

    def __init__(self, *args: Any, **more: Any) -> None:
        """Take what uvicorn's protocol takes."""
        super().__init__(*args, **more)
        self._size = 0  # bytes of the head that is being read, of what was parsed of it
        self._came = 0  # bytes that came since it began
        self._in_head = False
        self._hosts = 0  # headers Host of the head that is being read
        self._late: asyncio.TimerHandle | None = None
        self._lingers: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._head_came()
        self._body_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what has come. A header that does not end is refused too."""
        self._came += len(data)
        super().data_received(data)
        if not self._in_head:
            return
        self._wait_for_head()  # most heads come at once and need no timer
        if self._came > HEAD_BYTES and not self.transport.is_closing():
            self._size = self._came
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        super().on_message_begin()
        self._size, self._came, self._in_head, self._hosts = 0, 0, True, 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the first line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Of Host there may be one (RFC 9112, 3.2): a proxy may have looked at the other."""
        self._count(len(name) + len(value))
        self._hosts += name.lower() == b"host"
        if self._hosts > 1:
            raise _Unfit
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._head_came()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is complete."""
        self._body_came()
        self.scope[WHOLE] = True  # type: ignore[literal-required]
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Keep the connection for the next request only if this one was read, or soon is."""
        unread = self.cycle.response_complete and self.cycle.more_body
        if unread and not self.pipeline and self._lingers is None:
            self._lingers = self.loop.call_later(LINGER_SECONDS, self.transport.close)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or too large, and close the connection."""
        if self._size > HEAD_BYTES:
            self._refuse(431, f"the first line and the headers have more than {HEAD_BYTES} bytes")
        else:
            self._refuse(400, "the request has two Host headers" if self._hosts > 1 else msg)

    def _wait_for_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._refuse_late)

    def _refuse_late(self) -> None:
        self._late = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_for_head()  # the head of the next request, while one is answered
            return
        self._refuse(408, f"the first line and the headers did not come within {HEAD_SECONDS:.0f} s")

    def _refuse(self, status: int, message: str) -> None:
        self._refused(status)
        body = msgspec.json.encode(Failure(Problem(message, "invalid_request_error")))
        lines = [b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close"]
        self.transport.write(STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()

    def _refused(self, status: int) -> None:
        """Count nothing."""

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_BYTES:
            raise _Unfit

    def _head_came(self) -> None:
        self._in_head = False
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _body_came(self) -> None:
        if self._lingers is not None:
            self._lingers.cancel()
            self._lingers = None
