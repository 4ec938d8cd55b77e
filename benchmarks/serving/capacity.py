"""How a server behaves at and past its capacity, and whether it answers during prefills."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

from edgehone.inputs.texts import shipped
from edgehone.serve.load.client import Answered, Client
from edgehone.serve.load.loads import Ask, closed, completion, quantile, scheduled, served, windows
from edgehone.serve.load.started import Started, server

PLACES, TOKENS, CHARACTERS = 8, 32, 100
MOST_P99_RATIO, MOST_REFUSAL_MS, MOST_HEALTH_MS, MOST_GROWTH = 1.5, 10.0, 50.0, 1.1


async def past_capacity(bundle: Path, seconds: float) -> tuple[str, list[str]]:
    """Return the table of a bundle, and the goals that are missed."""
    async with server(bundle, "--parallel", str(PLACES)) as started:
        ask = _ask(bundle.name)
        await closed(started.port, ask, PLACES, 3)
        begun = time.perf_counter()
        answers = await closed(started.port, ask, PLACES, 12)
        capacity = len(answers) / (time.perf_counter() - begun)
        before = await scheduled(started.port, ask, 0.8 * capacity, seconds)
        memory = started.resident()
        beyond = await scheduled(started.port, ask, 2 * capacity, seconds)
        grown = started.resident() / memory
        health = await _health_during_prefills(bundle.name, started)
    return _table(capacity, before, beyond, grown, health)


def _ask(model: str) -> Ask:
    prompts = windows(shipped("calibration").read_text("utf-8"), CHARACTERS)

    async def ask(client: Client, number: int) -> Answered:
        return await client.post("/v1/completions", completion(model, next(prompts), TOKENS))

    return ask


async def _health_during_prefills(model: str, started: Started) -> list[Answered]:
    """Ask for /healthz 50 times a second while long prompts are read."""
    text = shipped("calibration").read_text("utf-8")
    prompts = windows(text, min(len(text) // 2, 4000))

    async def prefill(client: Client, number: int) -> Answered:
        return await client.post("/v1/completions", completion(model, next(prompts), 1))

    async def healthz(client: Client, number: int) -> Answered:
        return await client.get("/healthz")

    load = asyncio.create_task(closed(started.port, prefill, PLACES, 10_000))
    await asyncio.sleep(0.5)
    found = await scheduled(started.port, healthz, 50, 10)
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)
    return found


def _table(
    capacity: float, before: list[Answered], beyond: list[Answered], grown: float, health: list[Answered]
) -> tuple[str, list[str]]:
    refused = [1000 * (one.ended - one.begun) for one in beyond if one.status == 429]
    others = {one.status for one in (*before, *beyond)} - {200, 429}
    low, high = (quantile([one.seconds for one in served(answers)], 0.99) for answers in (before, beyond))
    alive = 1000 * quantile([one.seconds for one in health], 0.99)
    middle = statistics.median(refused) if refused else float("nan")
    goals = (
        (f"statuses {others}", not others),
        (f"p99 is {high / low:.2f} times that below capacity", high <= MOST_P99_RATIO * low),
        ("no request is refused", bool(refused)),
        (f"refused after {middle:.1f} ms", middle < MOST_REFUSAL_MS),
        (f"memory is {grown:.2f} times that before", grown <= MOST_GROWTH),
        (f"/healthz p99 {alive:.0f} ms", alive < MOST_HEALTH_MS),
    )
    table = (
        "| capacity | p99 at 0.8 times | admitted at 2 times, p99 | refused, median time | memory | "
        "/healthz p99 in prefills |\n" + "| --- " * 6 + "|\n"
        f"| {capacity:.1f} requests/s | {low:.2f} s of {len(before)} | {len(served(beyond))} of {len(beyond)}, "
        f"{high:.2f} s ({high / low:.2f} times) | {len(refused)}, {middle:.1f} ms | {grown:.2f} times | "
        f"{alive:.0f} ms |\n"
    )
    return table, [told for told, holds in goals if not holds]
