"""A graph in its own process, without a server (worker side)."""

from __future__ import annotations

import statistics
import time
from typing import Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.worker import canaries
from edgehone.worker.backend import load_backend
from edgehone.worker.lines import Lines


def serve(job: WorkerJob) -> dict[str, Any]:
    """Run the first canary as often as each message {"id", "count"} asks, and answer {"id", "seconds": the median}."""
    lines = Lines(job.args["channel"])
    backend = require(load_backend(job), GraphBackend)
    session = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
    question, _ = canaries.read(job.inputs["canaries"])[0]
    while (messages := lines.take(wait=True)) is not None:
        for message in messages:
            times = []
            for _ in range(message["count"]):
                begun = time.perf_counter()
                session.run(question)
                times.append(time.perf_counter() - begun)
            lines.send({"id": message["id"], "seconds": statistics.median(times)})
    session.close()
    return {}
