"""Measure the samples per second of a graph at several batch sizes, and again at the best of them."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.inputs.batches import Batches
from edgehone.worker import sequences
from edgehone.worker.backend import load_backend
from edgehone.worker.clock import clock_of

if TYPE_CHECKING:
    from edgehone.backends.sessions import GraphSession

# Batch sizes, and the minimum number of runs at each.
BATCHES = (1, 2, 4, 8, 16, 32, 64)
LEAST = 3
# The rate at the best batch size is measured anew this often: the readings that made it the best are biased upwards.
AGAIN = 5


def sweep(job: WorkerJob) -> dict[str, Any]:
    """Measure the samples per second at each batch size, then five times more at the best.

    args: `backend`, `settings`, `seconds` (the minimum time at each batch size). inputs: `artifact`, `samples`.
    Return `rates` by batch size; `best`, the best batch size or None; `again`, the five rates there; and `failed`, the
    errors by batch size, as graphs of a fixed batch size fail at others.
    """
    batches = Batches.read(job.inputs["samples"])
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    seconds = float(job.args["seconds"])
    rates: dict[int, float] = {}
    failed: dict[int, str] = {}
    for size in BATCHES:
        try:
            sequences.runner(session, batches.axes)(batches.around(0, size))
        except Exception as error:  # noqa: BLE001
            # Runtimes raise errors of all types for a batch size that they reject; the figure reports them.
            failed[size] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        rates[size] = statistics.median(_rates(session, batches, size, seconds))
    best = max(rates, key=lambda size: rates[size], default=None)
    again = [statistics.median(_rates(session, batches, best, seconds)) for _ in range(AGAIN)] if best else []
    session.close()
    return {"rates": rates, "failed": failed, "best": best, "again": again}


def _rates(session: GraphSession, batches: Batches, size: int, seconds: float) -> list[float]:
    clock, run = clock_of(session), sequences.runner(session, batches.axes)
    rates: list[float] = []
    begun, position = clock.now(), 0
    while len(rates) < LEAST or clock.now() - begun < seconds:
        feeds = batches.around(position, size)
        started = clock.now()
        run(feeds)
        rates.append(size / (clock.now() - started))
        position += size
    return rates
