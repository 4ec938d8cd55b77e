"""Read requests within limits, notice clients that leave, and send events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edgehone.core.errors import EdgehoneError
from edgehone.serve.record import Record

T = TypeVar("T")
Struct = TypeVar("Struct", bound=msgspec.Struct)
BODY_LIMIT = 8 << 20
# A client that sends its request more slowly than this holds a connection for nothing.
BODY_SECONDS = 30.0
# Seconds after which a client that waits is watched.
_GRACE = 0.02
# Status of requests whose client has left, by nginx's convention.
CLIENT_GONE = 499
# Keys of an ASGI scope: the body of the request has come as a whole; the headers that were looked up.
WHOLE, _HEADERS = "edgehone.whole", "edgehone.headers"


class Refused(EdgehoneError):
    """A request that is not answered: its HTTP status, and the field that is wrong."""

    def __init__(
        self, status: int, message: str, *, field: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.field, self.headers = status, field, headers


class Malformed(Refused):
    """A body that does not have the form that the route takes."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(400, message, field=field)


class Violation(Refused):
    """A conversation that the chat template of the model refuses."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message, field="messages")


class Problem(msgspec.Struct):
    """An error in a request, in the form of the OpenAI API. `param` is the field."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Failure(msgspec.Struct):
    """The body of every answer to a request that failed."""

    error: Problem


class ClientGone(Exception):
    """The client has closed the connection."""


def heads(request: Request) -> Mapping[str, str]:
    """Return the headers by their names in lower case; of several with one name the first.

    Starlette goes through all headers at each look-up.
    """
    scope = request.scope
    found: dict[str, str] | None = scope.get(_HEADERS)
    if found is None:
        found = scope[_HEADERS] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])
        }
    return found


async def read_body(request: Request, limit: int = BODY_LIMIT) -> bytes:
    """Return the body. Raises Refused if it is larger or slower than the limits."""
    stated = heads(request).get("content-length", "0")
    if stated.isdecimal() and int(stated) > limit:
        raise Refused(413, f"the body has {stated[:20]} bytes, more than {limit}")
    if WHOLE in request.scope:
        return await _received(request, limit)  # at once, without the cost of a timer
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _received(request, limit)
    except TimeoutError:
        raise Refused(408, f"the body did not come within {BODY_SECONDS:.0f} s") from None


async def _received(request: Request, limit: int) -> bytes:
    parts, size, more = list[bytes](), 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part, more = message.get("body", b""), message.get("more_body", False)
        size += len(part)
        if size > limit:
            raise Refused(413, f"the body has more than {limit} bytes")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_json(request: Request, kind: type[Struct]) -> Struct:
    """Return the body as a struct. Raises Refused with the field that does not fit."""
    body = await read_body(request)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        text = "the body is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        text = text or "the body is nested too deeply"
        raise Malformed(text + _given(body, text), field=_field(text)) from None


def _given(body: bytes, text: str) -> str:
    """Return the number or text that a message of msgspec is about: "; it is 0"."""
    _, found, path = text.partition("at `$.")
    try:
        value = msgspec.json.decode(body) if found else None
        for name in path.partition("`")[0].split("."):
            value = value[name] if isinstance(value, dict) else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, KeyError):
        return ""
    return f"; it is {str(value)[:80]}" if isinstance(value, int | float | str) else ""


def _field(text: str) -> str | None:
    """Return the field that a message of msgspec names."""
    for start, end in (("at `$.", "`"), ("unknown field `", "`"), ("required field `", "`")):
        _, found, rest = text.partition(start)
        if found:
            return rest.partition(end)[0]
    return None


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of some work, which is cancelled if the client leaves. Then raises ClientGone.

    `receive` is that of the request. The client is watched once the work has taken a moment, by a task of its own;
    short work needs none.
    """
    task = asyncio.current_task()
    assert task is not None
    gone, watching = False, list[asyncio.Task[None]]()

    async def watch() -> None:
        nonlocal gone
        await _wait_until_gone(receive)
        gone = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(
        _GRACE, lambda: watching.append(asyncio.create_task(watch()))
    )
    try:
        return await work
    except BaseException:
        if gone and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        timer.cancel()
        for one in watching:
            one.cancel()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Told(Response):
    """A whole answer with status 200. What is to be done of it besides is done after it was sent."""

    def __init__(self, body: bytes, media: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        # Starlette's own method finds out what is known here.
        self.status_code, self.body, self.background = 200, body, None
        self.raw_headers = [
            (b"content-length", str(len(body)).encode()),
            (b"content-type", media),
            *headers,
        ]
        self._then: list[Callable[[], None]] = []

    def then(self, function: Callable[[], None]) -> None:
        """Call a function after the answer was sent, also if that fails."""
        self._then.append(function)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self.body})
        finally:
            for function in self._then:
                function()


class Events(Response):
    """A stream of server-sent events. It ends, and closes their source, when the client leaves.

    The record of the request ends with it.
    """

    def __init__(self, events: AsyncIterator[bytes], record: Record) -> None:
        super().__init__(
            status_code=200,
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
            media_type="text/event-stream",
        )
        del self.headers["content-length"]
        self._events, self._record = events, record
        record.streams = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            await unless_gone(receive, self._send(send))
        except ClientGone:
            self._record.status = CLIENT_GONE
        except asyncio.CancelledError:
            self._record.status = CLIENT_GONE
            raise
        finally:
            self._record.end()

    async def _send(self, send: Send) -> None:
        async with aclosing(self._events) as events:  # type: ignore[type-var]
            async for event in events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def event(content: bytes, name: str = "") -> bytes:
    """Return a server-sent event with this content, one line, and a name if it is given."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + content + b"\n\n"
