"""Samples per second of a graph at several batch sizes, and again at the best of them."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.worker.backend import load_backend
from edgehone.worker.batches import Batches

if TYPE_CHECKING:
    from edgehone.backends.sessions import GraphSession

BATCHES = (1, 2, 4, 8, 16, 32, 64)
SECONDS = 0.15
LEAST = 3
# What the best batch is worth is read again, apart from the readings that made it look best.
AGAIN = 5


def sweep(job: WorkerJob) -> dict[str, Any]:
    """Samples a second at each batch, then five more readings at the best.

    args: backend, settings. inputs: artifact, samples. A graph of a fixed batch fails at others: `failed` says at
    which and why. Returns rates (by batch), best, again.
    """
    batches = Batches.read(job.inputs["samples"])
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    rates: dict[int, float] = {}
    failed: dict[int, str] = {}
    for size in BATCHES:
        try:
            session.run(batches.around(0, size))
        except Exception as error:  # noqa: BLE001
            # Whatever a runtime says of a batch that it does not take; the figure then says so.
            failed[size] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        rates[size] = statistics.median(_rates(session, batches, size))
    best = max(rates, key=lambda size: rates[size], default=None)
    again = [statistics.median(_rates(session, batches, best)) for _ in range(AGAIN)] if best else []
    session.close()
    return {"rates": rates, "failed": failed, "best": best, "again": again}


def _rates(session: GraphSession, batches: Batches, size: int) -> list[float]:
    found: list[float] = []
    begun, at = time.perf_counter(), 0
    while len(found) < LEAST or time.perf_counter() - begun < SECONDS:
        feeds = batches.around(at, size)
        started = time.perf_counter()
        session.run(feeds)
        found.append(size / (time.perf_counter() - started))
        at += size
    return found
