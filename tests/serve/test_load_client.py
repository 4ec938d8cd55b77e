"""The client of loads: a connection that the server closed while it was idle is opened again, another one is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from edgehone.serve.load import client as load_client
from edgehone.serve.load.client import Client

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def asked_twice(handle: Handle) -> list[int]:
    """Ask a server twice over one client; return the statuses."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    client = Client(server.sockets[0].getsockname()[1])
    try:
        first = await client.get("/")
        await asyncio.sleep(0.1)
        return [first.status, (await client.get("/")).status]
    finally:
        client.close()
        server.close()


async def _one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


def test_a_connection_that_was_closed_while_it_was_idle_is_opened_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_client, "_IDLE_SECONDS", 0.05)
    assert asyncio.run(asked_twice(_one_answer)) == [200, 200]


def test_a_connection_that_is_lost_in_use_is_an_error() -> None:
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        asyncio.run(asked_twice(_one_answer))


def test_a_server_that_drops_every_request_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_client, "_IDLE_SECONDS", 0.0)

    async def drops(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        asyncio.run(asked_twice(drops))
