"""Watch a server while it answers: the alerts of its certificate, evaluated from its metrics."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from edgehone.certify.asked import Asked
from edgehone.monitor.alert import alerts
from edgehone.monitor.baseline import read_baselines
from edgehone.monitor.evaluate import Evaluator
from edgehone.monitor.server import scrape
from edgehone.pipeline.serving.requests import asking, counted
from edgehone.pipeline.serving.switch import failures
from edgehone.serve.load.loads import closed_for
from edgehone.serve.load.started import server

_BETWEEN_SCRAPES = 0.5


def watch(bundle: str, name: str, url: str | None, seconds: float) -> dict[str, Any]:
    """Send requests for so many seconds, and return which alerts hold at the end (`firing`, `pending`), and the load.

    `url`: the server; None: one that is started for the purpose.
    """
    path = Path(bundle).resolve()
    evaluator = Evaluator(alerts([read_baselines(path, name)]))
    with asking(path, name) as asked:
        return asyncio.run(_watch(path, asked, evaluator, url, seconds))


async def _watch(
    path: Path, asked: Asked, evaluator: Evaluator, url: str | None, seconds: float
) -> dict[str, Any]:
    if url is not None:
        return await _watched(url, int(url.rpartition(":")[2].rstrip("/")), asked, evaluator, seconds)
    async with server(path) as started:
        return await _watched(f"http://127.0.0.1:{started.port}", started.port, asked, evaluator, seconds)


async def _watched(url: str, port: int, asked: Asked, evaluator: Evaluator, seconds: float) -> dict[str, Any]:
    load = asyncio.create_task(closed_for(port, asked.ask, 1, seconds))
    while not load.done():
        evaluator.add(time.monotonic(), await asyncio.to_thread(scrape, url))
        await asyncio.sleep(_BETWEEN_SCRAPES)
    answers = await load
    evaluator.add(time.monotonic(), await asyncio.to_thread(scrape, url))
    return {
        "firing": [one.says for one in evaluator.firing()],
        "pending": [one.says for one in evaluator.pending()],
        "load": counted(answers, seconds),
        "failed": failures(answers),
        "problem": evaluator.problem,
    }
