"""Answers of a service whose asker has left."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from edgehone.core.errors import JobError
from edgehone.serve.channel import Channel, Unheard


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


class Service:
    """The other end of a channel, which a test lets answer."""

    def __init__(self, its: socket.socket) -> None:
        self._its, self._lines = its, b""
        its.setblocking(False)

    async def asked(self, count: int) -> list[dict[str, Any]]:
        """Return so many questions."""
        while self._lines.count(b"\n") < count:
            self._lines += await asyncio.get_running_loop().sock_recv(self._its, 1000)
        *whole, self._lines = self._lines.split(b"\n", count)
        return [json.loads(line) for line in whole]

    async def answer(self, question: dict[str, Any]) -> None:
        """Answer one with itself."""
        line = json.dumps(question).encode() + b"\n"
        await asyncio.get_running_loop().sock_sendall(self._its, line)


def test_questions_are_sent_at_once_and_timed_one_after_another() -> None:
    async def test() -> None:
        mine, its = socket.socketpair()
        channel, service = Channel(lambda message: None), Service(its)
        await channel.connect(mine)
        asking = [asyncio.create_task(channel.ask({"number": one}, 0.3)) for one in range(3)]
        questions = await service.asked(3)
        for question in questions:
            await asyncio.sleep(0.2)  # each in its time; all together take longer
            await service.answer(question)
        assert [one["number"] for one in await asyncio.gather(*asking)] == [0, 1, 2]
        slow, behind = [asyncio.create_task(channel.ask({"number": one}, 0.05)) for one in (3, 4)]
        with pytest.raises(TimeoutError):
            await slow
        assert not behind.done()  # its time has not begun
        channel.close()
        with pytest.raises(Unheard):
            await behind
        its.close()

    asyncio.run(test())


def test_a_service_that_ends_fails_only_what_it_was_at() -> None:
    async def test() -> None:
        mine, its = socket.socketpair()
        channel, service = Channel(lambda message: None), Service(its)
        await channel.connect(mine)
        reading = asyncio.create_task(channel.closed())
        left = asyncio.create_task(channel.ask({"number": 0}, 5))
        at, behind = [asyncio.create_task(channel.ask({"number": one}, 5)) for one in (1, 2)]
        first, _, _ = await service.asked(3)
        left.cancel()  # who asked has left; the service answers all the same
        await service.answer(first)
        its.close()
        await reading
        with pytest.raises(JobError) as failed:
            await at
        assert not isinstance(failed.value, Unheard)
        with pytest.raises(Unheard):
            await behind
        with pytest.raises(JobError):
            await channel.ask({"number": 3}, 5)

    asyncio.run(test())
