"""Watch a server while it answers: the alerts of its certificate, evaluated from its metrics.

A server that clients ask is only watched: requests of another kind than theirs would change its figures, and look like
drift. One that nobody asks gets requests.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from edgehone.certify.asked import Asked
from edgehone.monitor.alert import alerts
from edgehone.monitor.baseline import read_baselines
from edgehone.monitor.evaluate import Evaluator
from edgehone.monitor.exposition import samples
from edgehone.monitor.server import scrape
from edgehone.pipeline.serving.requests import asking, counted
from edgehone.pipeline.serving.switch import failures
from edgehone.serve.load.client import Answered
from edgehone.serve.load.loads import closed_for
from edgehone.serve.load.started import server

_BETWEEN_SCRAPES = 0.5
# A server that answers a request within so many seconds has clients. Its metrics count a request up to 1 s after its
# answer.
_CLIENTS_SECONDS = 2.0
_FAILED = ("engine", "late")


def watch(bundle: str, name: str, url: str | None, seconds: float) -> dict[str, Any]:
    """Watch a server for so many seconds, and return which alerts hold at the end (`firing`, `pending`), and the load.

    `url`: the server; None: one that is started for the purpose. `own`: the requests of its clients meanwhile; 0: it
    has none, and was sent requests, which `load` counts. `failed`: how many requests its engine failed.
    """
    path = Path(bundle).resolve()
    evaluator = Evaluator(alerts([read_baselines(path, name)]))
    with asking(path, name) as asked:
        return asyncio.run(_watch(path, asked, evaluator, url, seconds))


async def _watch(
    path: Path, asked: Asked, evaluator: Evaluator, url: str | None, seconds: float
) -> dict[str, Any]:
    if url is None:
        async with server(path) as started:
            return await _asked(f"http://127.0.0.1:{started.port}", asked, evaluator, seconds)
    before, failed = await _requests(url)
    await asyncio.sleep(_CLIENTS_SECONDS)
    if (await _requests(url))[0] == before:
        return await _asked(url, asked, evaluator, seconds)
    await _evaluate(url, evaluator, asyncio.create_task(asyncio.sleep(seconds)))
    own, lost = await _requests(url)
    found = _found(evaluator, [], seconds)
    return {**found, "own": round(own - before), "failed": round(lost - failed)}


async def _requests(url: str) -> tuple[float, float]:
    """Return how many requests of models a server has counted, and how many its engines have failed."""
    text = await asyncio.to_thread(scrape, url)
    asked = samples(text, ("edgehone_request_seconds_count",))
    lost = samples(text, ("edgehone_failures_total",))
    failed = sum(value for _, labels, value in lost if dict(labels).get("reason") in _FAILED)
    return sum(value for _, _, value in asked), failed


async def _asked(url: str, asked: Asked, evaluator: Evaluator, seconds: float) -> dict[str, Any]:
    """Send requests from one client meanwhile."""
    port = int(url.rpartition(":")[2].rstrip("/"))
    load = asyncio.create_task(closed_for(port, asked.ask, 1, seconds))
    await _evaluate(url, evaluator, load)
    answers = await load
    return {**_found(evaluator, answers, seconds), "own": 0, "failed": failures(answers)}


async def _evaluate(url: str, evaluator: Evaluator, until: asyncio.Task[Any]) -> None:
    while not until.done():
        evaluator.add(time.monotonic(), await asyncio.to_thread(scrape, url))
        await asyncio.sleep(_BETWEEN_SCRAPES)
    evaluator.add(time.monotonic(), await asyncio.to_thread(scrape, url))


def _found(evaluator: Evaluator, answers: list[Answered], seconds: float) -> dict[str, Any]:
    return {
        "firing": [one.says for one in evaluator.firing()],
        "pending": [one.says for one in evaluator.pending()],
        "load": counted(answers, seconds),
        "problem": evaluator.problem,
    }
