"""Open an artifact and use it once, to see what becomes of a malformed one (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import WorkerJob
from edgehone.inputs.batches import Batches
from edgehone.worker import sequences
from edgehone.worker.backend import load_backend

# Tokens that are generated.
ANSWER = 8


def attempt(job: WorkerJob) -> dict[str, Any]:
    """Open the artifact, and generate a few tokens or compute one batch.

    args: backend, settings, kind ("language" or "graph"), prompt (ids) or batch. inputs: artifact, for a graph also
    samples (a folder that `Batches.write` filled). Returns refused, the error that it was refused with, or None; and
    the answer, ids or the sums of the outputs.
    """
    answer: list[Any] = []
    try:
        if job.args["kind"] == "graph":
            backend = require(load_backend(job), GraphBackend)
            graph = backend.open_graph(job.inputs["artifact"], job.args["settings"], job)
            samples = Batches.read(job.inputs["samples"])
            outputs = sequences.runner(graph, samples.axes)(samples.around(0, job.args["batch"]))
            answer = [f"{float(outputs[name].sum()):.4g}" for name in sorted(outputs)]
            graph.close()
        else:
            session = load_backend(job).open_session(job.inputs["artifact"], job.args["settings"], job)
            answer = [int(i) for i in session.generate(job.args["prompt"], ANSWER).ids]
            session.close()
    except Exception as error:  # noqa: BLE001 - a framework may raise any type
        return {"refused": f"{type(error).__name__}: {error}"[:300], "answer": []}
    return {"refused": None, "answer": answer}
