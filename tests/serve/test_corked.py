"""What is written in one turn of the event loop is sent together, in its order, and before the connection closes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.serve.corked import Corked


class Recorded(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.limit: int | None
        self.end, self.limit, self.encrypted = "", None, False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limit = high

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "sslcontext" and self.encrypted else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.end
        self.written.append(bytes(data))

    def close(self) -> None:
        self.end = "closed"

    def abort(self) -> None:
        self.end = "aborted"

    def is_closing(self) -> bool:
        return bool(self.end)


def corked(test: Callable[[Corked], None]) -> Recorded:
    """Run a test in one turn of a loop, and return the transport after the next one."""

    async def run() -> Recorded:
        under = Recorded()
        test(Corked(under, asyncio.get_running_loop()))
        await asyncio.sleep(0)
        return under

    return asyncio.run(run())


def test_parts_are_sent_together() -> None:
    def write(transport: Corked) -> None:
        for part in (b"head", bytearray(b" body"), memoryview(b" end")):
            transport.write(part)

    assert corked(write).written == [b"head body end"]


@given(st.lists(st.integers(0, 200_000), max_size=8))
def test_the_order_is_kept_whatever_the_sizes(sizes: list[int]) -> None:
    parts = [bytes([at]) * size for at, size in enumerate(sizes)]

    def write(transport: Corked) -> None:
        for part in parts:
            transport.write(part)

    assert b"".join(corked(write).written) == b"".join(parts)


def test_what_is_flushed_is_not_kept_until_the_end_of_the_turn() -> None:
    def write(transport: Corked) -> None:
        transport.write(b"head")
        transport.write(b" body")
        transport.flush()
        transport.write(b"next")

    assert corked(write).written == [b"head body", b"next"]


@pytest.mark.parametrize(("encrypted", "limit"), [(False, 0), (True, None)])
def test_a_plain_transport_keeps_nothing_back(encrypted: bool, limit: int | None) -> None:
    under = Recorded()
    under.encrypted = encrypted
    Corked(under, asyncio.new_event_loop())
    assert under.limit == limit


@pytest.mark.parametrize(("end", "written"), [("close", [b"last words"]), ("abort", [])])
def test_closing_sends_what_was_written_and_aborting_does_not(end: str, written: list[bytes]) -> None:
    def write(transport: Corked) -> None:
        transport.write(b"last ")
        transport.write(b"words")
        getattr(transport, end)()
        assert transport.is_closing()

    under = corked(write)
    assert (under.written, bool(under.end)) == (written, True)
