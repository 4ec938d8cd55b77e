"""Answers of a service whose asker has left."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from edgehone.serve.channel import Channel


def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    asyncio.run(_ask_and_leave())


async def _ask_and_leave() -> None:
    mine, its = socket.socketpair()
    its.setblocking(False)
    received: list[dict[str, Any]] = []
    channel = Channel(received.append)
    await channel.connect(mine)
    reading = asyncio.create_task(channel.closed())
    loop = asyncio.get_running_loop()

    async def answer(late: float) -> None:
        question = json.loads(await loop.sock_recv(its, 1000))
        await asyncio.sleep(late)
        await loop.sock_sendall(its, json.dumps({"id": question["id"], "text": "a"}).encode() + b"\n")

    answering = asyncio.create_task(answer(0.05))
    with pytest.raises(TimeoutError):
        await channel.ask({"add": 1}, 0.01)
    await answering
    answering = asyncio.create_task(answer(0.0))
    assert (await channel.ask({"add": 2}, 5))["text"] == "a"
    await answering
    await loop.sock_sendall(its, b'{"ready": true}\n')
    its.close()
    await reading
    assert received == [{"ready": True}]
