"""The head of an answer is sent together with what follows at once."""

from __future__ import annotations

import asyncio
from typing import Any

from edgehone.serve.joined_writes import JoinedWrites

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Sent:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.parts.append(data)

    def close(self) -> None:
        self.closed = True


def written(*turns: tuple[bytes, ...], close: bool = False) -> Sent:
    """What a transport gets when these parts are written, in turns of the event loop."""

    async def write() -> Sent:
        sent: Any = Sent()
        transport = JoinedWrites(sent, asyncio.get_running_loop())
        for parts in turns:
            for part in parts:
                transport.write(part)
            if not close:
                await asyncio.sleep(0)
        if close:
            transport.close()
        return sent  # type: ignore[no-any-return]

    return asyncio.run(write())


def test_a_head_and_its_body_are_one_part() -> None:
    assert written((HEAD, b"body")).parts == [HEAD + b"body"]
    assert written((HEAD, b"body"), (HEAD, b"next")).parts == [HEAD + b"body", HEAD + b"next"]
    assert written((HEAD, b"first", b"second")).parts == [HEAD + b"first", b"second"]


def test_a_head_without_a_body_does_not_wait() -> None:
    assert written((HEAD,), (b"event",)).parts == [HEAD, b"event"]
    assert written((HEAD, HEAD)).parts == [HEAD + HEAD]


def test_nothing_is_lost_when_the_connection_is_closed() -> None:
    sent = written((HEAD,), close=True)
    assert sent.parts == [HEAD] and sent.closed
