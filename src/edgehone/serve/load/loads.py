"""Send requests: so many clients that each wait for their answer, or on a fixed schedule whatever the answers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.serve.load.client import Answered, Client

Ask = Callable[[Client, int], Awaitable[Answered]]


async def closed(where: int | Path, ask: Ask, clients: int, requests: int) -> list[Answered]:
    """Let each of the clients send its requests one after the other."""
    numbers = itertools.count()

    async def one() -> list[Answered]:
        client = Client(where)
        try:
            return [await ask(client, next(numbers)) for _ in range(requests)]
        finally:
            client.close()

    return [
        answer for answers in await asyncio.gather(*(one() for _ in range(clients))) for answer in answers
    ]


async def closed_for(where: int | Path, ask: Ask, clients: int, seconds: float) -> list[Answered]:
    """Let each of the clients send requests one after the other for so many seconds."""
    numbers, end = itertools.count(), time.perf_counter() + seconds

    async def one() -> list[Answered]:
        client, answers = Client(where), list[Answered]()
        try:
            while time.perf_counter() < end:
                answers.append(await ask(client, next(numbers)))
        finally:
            client.close()
        return answers

    return [
        answer for answers in await asyncio.gather(*(one() for _ in range(clients))) for answer in answers
    ]


async def scheduled(where: int | Path, ask: Ask, per_second: float, seconds: float) -> list[Answered]:
    """Send a request every 1 / per_second s. Times count from when it was due: a late client hides none."""
    idle: list[Client] = []
    begun = time.perf_counter()

    async def one(number: int) -> Answered:
        due = begun + number / per_second
        await asyncio.sleep(due - time.perf_counter())
        client = idle.pop() if idle else Client(where)
        answer = await ask(client, number)
        idle.append(client)
        return replace(answer, begun=due)

    answers = await asyncio.gather(*(one(number) for number in range(int(per_second * seconds))))
    for client in idle:
        client.close()
    return answers


def windows(text: str, size: int) -> Iterator[str]:
    """Yield pieces of a text that begin at different places, so that no prefix cache answers."""
    for start in itertools.count(0, 131):
        at = start % (len(text) - size)
        yield text[at : at + size]


def quantile(values: Sequence[float], q: float) -> float:
    """Return the value below which a share q of the values lies; nan of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


def served(answers: Sequence[Answered]) -> list[Answered]:
    """Return those with status 200."""
    return [answer for answer in answers if answer.status == 200]


def completion(model: str, prompt: str, tokens: int, **more: Any) -> dict[str, Any]:
    """Return the body of POST /v1/completions that asks for a stream with its usage."""
    usage = {"include_usage": True}
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": usage,
        **more,
    }
