"""A server is watched: with clients of its own nothing is sent to it, without any it is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from edgehone.pipeline.serving import watch
from edgehone.serve.load.client import Client
from edgehone.serve.load.started import server
from tests.pipeline.nullpipeline import Place

pytestmark = pytest.mark.whole
NAME = "null-model"


@asynccontextmanager
async def clients(port: int, per_second: float) -> AsyncIterator[list[int]]:
    """A client that sends requests; the statuses of the answers."""
    statuses: list[int] = []

    async def ask() -> None:
        client = Client(port)
        while True:
            body = {"model": NAME, "prompt": "Once upon a time", "max_tokens": 2}
            statuses.append((await client.post("/v1/completions", body)).status)
            await asyncio.sleep(1 / per_second)

    task = asyncio.create_task(ask())
    try:
        yield statuses
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def watched(place: Place, per_second: float | None) -> tuple[dict[str, Any], list[int]]:
    """Watch a server of the bundle that the pipeline made for a second; return what was found, and the statuses."""
    bundle = place.path / "run" / "bundle"
    settings = place.path / "serve.toml"
    settings.write_text(f"[bundles.{NAME}]\npath = {json.dumps(str(bundle))}\n")

    async def tried() -> tuple[dict[str, Any], list[int]]:
        async with server(None, "--config", str(settings)) as started:
            url = f"http://127.0.0.1:{started.port}"
            if per_second is None:
                return await asyncio.to_thread(watch.watch, str(bundle), NAME, url, 1.0), []
            async with clients(started.port, per_second) as statuses:
                return await asyncio.to_thread(watch.watch, str(bundle), NAME, url, 1.0), statuses

    return asyncio.run(tried())


def test_nothing_is_sent_to_a_server_that_has_clients(done: Place) -> None:
    found, statuses = watched(done, 20.0)
    assert found["load"]["requests"] == 0 and found["failed"] == 0
    assert 0 < found["own"] <= len(statuses) and set(statuses) == {200}
    assert found["firing"] == [] and found["problem"] is None


def test_a_server_that_nobody_asks_is_asked(done: Place) -> None:
    found, _ = watched(done, None)
    assert found["own"] == 0 and found["load"]["answered"] == found["load"]["requests"] > 0
