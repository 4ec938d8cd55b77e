"""Serve a bundle on a port of its own, wait for its proof, and put load on it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from edgehone.certify.asked import Asked
from edgehone.core.errors import JobError
from edgehone.pipeline.serving.requests import asking, counted
from edgehone.serve.load.client import Client
from edgehone.serve.load.loads import closed_for
from edgehone.serve.load.started import server


def stage(bundle: str, clients: int, seconds: float) -> dict[str, Any]:
    """Return how a server of a bundle answered: `ready` seconds, the load, and whether an answer changed under it.

    Raises JobError if it does not get ready, which includes that its engine does not give the canaries again.
    """
    path = Path(bundle).resolve()
    with asking(path, path.name) as asked:
        return asyncio.run(_stage(path, asked, clients, seconds))


async def _stage(path: Path, asked: Asked, clients: int, seconds: float) -> dict[str, Any]:
    async with server(path, "--parallel", str(max(8, clients))) as started:
        before = await _probe(started.port, asked)
        begun = time.perf_counter()
        answers = await closed_for(started.port, asked.ask, clients, seconds)
        found = counted(answers, time.perf_counter() - begun)
        after = await _probe(started.port, asked)
    return {"ready": started.seconds, "load": found, "same": before == after}


async def _probe(port: int, asked: Asked) -> str:
    client = Client(port)
    try:
        answer = await asked.probe(client, 0)
    finally:
        client.close()
    if answer.status != 200:
        raise JobError(f"a request is not answered: status {answer.status}: {answer.tail[:200]!r}")
    return asked.answer(answer)
