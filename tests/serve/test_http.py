"""Headers, bodies that have come as a whole, and what is done after an answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from edgehone.serve import http
from edgehone.serve.http import WHOLE, ClientGone, Refused, Told, heads, read_body


def request(parts: list[bytes], *headers: tuple[bytes, bytes], whole: bool = False) -> Request:
    """A request whose body comes in parts; then nothing comes for a long time."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not whole}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}
    return Request(scope | ({WHOLE: True} if whole else {}), receive)


def test_the_first_of_several_headers_counts() -> None:
    found = heads(request([], (b"host", b"a"), (b"x", "é".encode("latin-1")), (b"host", b"b")))
    assert dict(found) == {"host": "a", "x": "é"}


def test_a_whole_body_is_read_at_once() -> None:
    assert asyncio.run(read_body(request([b"ab"], whole=True))) == b"ab"
    with pytest.raises(Refused) as caught:
        asyncio.run(read_body(request([b"abc"], whole=True), 2))
    assert caught.value.status == 413


def test_a_body_that_does_not_come_whole_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", 0.05)
    with pytest.raises(Refused) as caught:
        asyncio.run(read_body(request([b"a", b"b"])))
    assert caught.value.status == 408


def test_a_client_that_leaves_before_its_body_was_read() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    gone = Request({"type": "http", "method": "POST", "path": "/", "headers": [], WHOLE: True}, receive)
    with pytest.raises(ClientGone):
        asyncio.run(read_body(gone))


@pytest.mark.parametrize("fails", [False, True])
def test_what_follows_an_answer_is_done_after_it_and_whether_or_not_it_was_sent(fails: bool) -> None:
    done: list[Any] = []

    async def send(message: Any) -> None:
        if fails:
            raise ConnectionError
        done.append(message)

    async def tell() -> None:
        told = Told(b"body", b"text/plain", [(b"x", b"1")])
        told.then(lambda: done.append("then"))
        await told({}, receive, send)

    async def receive() -> Any:
        raise AssertionError

    if fails:
        with pytest.raises(ConnectionError):
            asyncio.run(tell())
        assert done == ["then"]
        return
    asyncio.run(tell())
    head = [(b"content-length", b"4"), (b"content-type", b"text/plain"), (b"x", b"1")]
    assert done == [
        {"type": "http.response.start", "status": 200, "headers": head},
        {"type": "http.response.body", "body": b"body"},
        "then",
    ]
