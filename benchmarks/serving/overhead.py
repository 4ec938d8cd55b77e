"""What the server adds to its engine: throughput, first token, memory and start."""

from __future__ import annotations

import itertools
import math
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import edgehone
from benchmarks.serving.service import service_of
from benchmarks.serving.spent import Spent
from edgehone.evaluation.statistics import mean_interval
from edgehone.inputs.texts import shipped
from edgehone.serve.load.client import Answered, Client
from edgehone.serve.load.loads import closed, completion, served, windows
from edgehone.serve.load.started import Started, server
from edgehone.serve.served import Limits, ServedLanguage, read_language
from edgehone.serve.text import Prompts
from edgehone.serve.text_process import TextProcess

CLIENTS = (1, 4, 16)
ROUNDS, PAIRS = 5, 50
ROUND_SECONDS, MOST_REQUESTS = 1.0, 8  # a client sends so many requests that a round takes about this long
LEAST_RATIO, MOST_ADDED_MS, MOST_MEMORY_MB, MOST_LATER_S = 0.95, 1.0, 80.0, 2.0

# Answers prompts, lists of ids, with so many clients at a time and so many tokens each. Returns tokens a second.
Alone = Callable[[Sequence[Sequence[int]], int, int], Awaitable[float]]


@dataclass(frozen=True)
class Shape:
    """The length of requests: characters of a prompt and tokens of an answer."""

    characters: int
    tokens: int


# Short requests, of some 60 tokens, and those of the workload "chat", of some 256.
SHAPES = (Shape(200, 32), Shape(800, 128))


@dataclass(frozen=True)
class Prompt:
    """A text and its ids."""

    text: str
    ids: list[int]


async def beside_the_engine(bundles: Sequence[Path], rounds: int = ROUNDS) -> tuple[str, list[str]]:
    """Return the table of all bundles, and the goals that are missed."""
    head = "".join(f"| {clients} clients: served, alone, ratio " for clients in CLIENTS)
    lines = [
        f"| bundle | prompt + answer {head}| processor time of a request: server, text, client "
        "| added to the first token | memory: server, text, engine's Python | ready after: server, engine alone |",
        "| --- " * (6 + len(CLIENTS)) + "|",
    ]
    problems: list[str] = []
    for path in bundles:
        lines += [f"| {' | '.join(cells)} |" for cells in await _measure(path, rounds, problems)]
    return "\n".join(lines) + "\n", problems


async def _measure(path: Path, rounds: int, problems: list[str]) -> list[list[str]]:
    bundle = read_language(
        edgehone.read(path), path.name, Limits(max(CLIENTS)), lambda text: print(text, file=sys.stderr)
    )
    lines = []
    async with AsyncExitStack() as stack:
        started = await stack.enter_async_context(server(path, "--parallel", str(max(CLIENTS))))
        memory = started.memory()
        opened: float | None = None
        if started.llama_server:
            alone = _llama_server(started)
        else:
            alone, opened = await _in_process(bundle, stack)
        for shape in SHAPES:
            count = 2 * (1 + rounds * MOST_REQUESTS) * sum(CLIENTS) + 2 * PAIRS
            prompts = await _prompts(bundle, shape, count)
            rates = _Rates(bundle, started, alone, iter(prompts), shape, rounds, Spent(started))
            cells = [await rates.compare(clients, problems) for clients in CLIENTS]
            cells.append(rates.spent.told())
            cells.append(await _first_token(rates, problems) if started.llama_server else "–")
            ids = statistics.mean(len(one.ids) for one in prompts)
            lines.append([path.name, f"{ids:.0f} + {shape.tokens}", *cells])
        parts = ", ".join(f"{memory[name]:.0f}" for name in ("server", "text", "engine") if name in memory)
        own = memory["server"] + memory["text"]
        if own > MOST_MEMORY_MB:
            problems.append(f"{bundle.name}: {own:.0f} MB beside the engine")
        if opened is not None and started.seconds > opened + MOST_LATER_S:
            problems.append(
                f"{bundle.name}: ready {started.seconds - opened:.1f} s later than the engine alone"
            )
        ready = f"{started.seconds:.1f} s, " + ("–" if opened is None else f"{opened:.1f} s")
    return [[*line, f"{parts} MB", ready] for line in lines]


async def _prompts(bundle: ServedLanguage, shape: Shape, count: int) -> list[Prompt]:
    process = TextProcess(bundle.text)
    text = Prompts(process)
    pieces = itertools.islice(windows(shipped("calibration").read_text("utf-8"), shape.characters), count)
    found = [Prompt(piece, await text.prompt(piece)) for piece in pieces]
    await process.end()
    return found


@dataclass(frozen=True)
class _Rates:
    """Throughput through the server and of the engine alone."""

    bundle: ServedLanguage
    started: Started
    alone: Alone
    supply: Iterator[Prompt]
    shape: Shape
    rounds: int
    spent: Spent

    async def compare(self, clients: int, problems: list[str]) -> str:
        """Compare in alternating rounds, after one that warms up. The ratio is a geometric mean with its t interval."""
        rate, _ = await self._round(clients, 1, 0)
        requests = max(1, min(MOST_REQUESTS, round(rate * ROUND_SECONDS / (clients * self.shape.tokens))))
        both = [await self._round(clients, requests, number) for number in range(self.rounds)]
        found = mean_interval([math.log(one / other) for one, other in both])
        ratio = math.exp(found.value)
        low, high = (math.exp(one) if one is not None else math.nan for one in (found.low, found.high))
        if ratio < LEAST_RATIO:
            told = f"{self.bundle.name}, {clients} clients, answers of {self.shape.tokens} tokens"
            problems.append(f"{told}: {ratio:.2f} of the engine's throughput")
        ours, theirs = (statistics.median(rates) for rates in zip(*both, strict=True))
        return f"{ours:.0f}, {theirs:.0f} tokens/s, {ratio:.2f} ({low:.2f}–{high:.2f})"

    async def _round(self, clients: int, requests: int, number: int) -> tuple[float, float]:
        """Return the tokens a second of the server and of the engine alone. Which is first changes with each round."""
        ours, theirs = ([next(self.supply) for _ in range(clients * requests)] for _ in range(2))

        async def served() -> float:
            return await self._served([one.text for one in ours], clients)

        async def alone() -> float:
            return await self.alone([one.ids for one in theirs], clients, self.shape.tokens)

        if number % 2:
            other = await alone()
            return await served(), other
        rate = await served()
        return rate, await alone()

    async def _served(self, prompts: Sequence[str], clients: int) -> float:
        async def ask(client: Client, number: int) -> Answered:
            body = completion(self.bundle.name, prompts[number], self.shape.tokens)
            return await client.post("/v1/completions", body)

        begun = self.spent.now()
        rate = _rate(await closed(self.started.port, ask, clients, len(prompts) // clients))
        self.spent.add(begun, len(prompts))
        return rate


def _llama_server(started: Started) -> Alone:
    """Return a function that asks the server's own llama-server on its socket."""

    async def alone(prompts: Sequence[Sequence[int]], clients: int, tokens: int) -> float:
        async def ask(client: Client, number: int) -> Answered:
            return await client.post("/completion", _llama_body(prompts[number], tokens))

        return _rate(await closed(started.llama_socket, ask, clients, len(prompts) // clients))

    return alone


async def _in_process(bundle: ServedLanguage, stack: AsyncExitStack) -> tuple[Alone, float]:
    """Open the engine a second time, without a server. Returns a function that asks it, and the seconds it took."""
    job, begun = replace(bundle.engine, call="benchmarks.serving.alone:serve"), time.perf_counter()
    channel = await stack.enter_async_context(service_of(job))
    await channel.ask({"clients": 1, "count": 1, "ends": [], "prompts": []}, 600)
    opened = time.perf_counter() - begun

    async def alone(prompts: Sequence[Sequence[int]], clients: int, tokens: int) -> float:
        message = {"clients": clients, "count": tokens, "ends": list(bundle.ends), "prompts": list(prompts)}
        answer = await channel.ask(message, 600)
        return float(answer["tokens"] / answer["seconds"])

    return alone, opened


async def _first_token(rates: _Rates, problems: list[str]) -> str:
    """Return the median of what the server adds to a request of one token, over pairs."""
    bundle, supply = rates.bundle, rates.supply
    ours, theirs, added = Client(rates.started.port), Client(rates.started.llama_socket), []
    for number in range(PAIRS):
        prompt, other = next(supply), next(supply)
        served_one = await ours.post("/v1/completions", completion(bundle.name, prompt.text, 1))
        alone_one = await theirs.post("/completion", _llama_body(other.ids, 1))
        if number >= PAIRS // 10:
            added.append(1000 * (served_one.seconds - alone_one.seconds))
    ours.close()
    theirs.close()
    middle = statistics.median(added)
    if middle > MOST_ADDED_MS:
        length = rates.shape.characters
        problems.append(
            f"{bundle.name}: {middle:.2f} ms are added to the first token after {length} characters"
        )
    return f"{middle:.2f} ms"


def _llama_body(ids: Sequence[int], count: int) -> dict[str, object]:
    """Return what the engine asks a llama-server for."""
    return {
        "prompt": list(ids),
        "n_predict": count,
        "stream": True,
        "return_tokens": True,
        "temperature": 0.0,
    }


def _rate(answers: Sequence[Answered]) -> float:
    """Return tokens a second, from the first request to the last answer."""
    good = served(answers)
    assert len(good) == len(answers), [answer.status for answer in answers]
    return sum(one.tokens for one in good) / (max(one.ended for one in good) - min(one.begun for one in good))
