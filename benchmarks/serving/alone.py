"""The engine of a backend without a server: requests are added in its own process (worker side)."""

from __future__ import annotations

import time
from typing import Any

from edgehone.backends.capabilities import EngineBackend, require
from edgehone.backends.serving import Engine, EngineRequest
from edgehone.backends.sessions import WorkerJob
from edgehone.worker.backend import load_backend
from edgehone.worker.lines import Lines


def serve(job: WorkerJob) -> dict[str, Any]:
    """Open the engine as edgehone.worker.engine does, and answer until the channel is closed.

    Messages received are {"id", "clients", "count", "ends", "prompts"}: so many requests are in the engine at a time
    until all prompts, lists of ids, are answered with `count` new tokens. The answer is {"id", "tokens", "seconds"}.
    Requests are added one after another, between steps, as those of independent clients come. Added all at once, they
    would be read in one step and end in one, all the time.
    """
    lines = Lines(job.args["channel"])
    backend = require(load_backend(job), EngineBackend)
    engine = backend.open_engine(job.inputs["artifact"], job.args["settings"], job, job.args["places"])
    lines.send({"ready": True})
    while (messages := lines.take(wait=True)) is not None:
        for message in messages:
            begun = time.perf_counter()
            tokens = _answer(engine, message)
            lines.send({"id": message["id"], "tokens": tokens, "seconds": time.perf_counter() - begun})
    engine.close()
    return {}


def _answer(engine: Engine, message: dict[str, Any]) -> int:
    prompts, running, tokens = list(enumerate(message["prompts"])), 0, 0
    while prompts or running:
        if prompts and running < message["clients"]:  # one a step: clients do not send at the same instant
            number, ids = prompts.pop()
            engine.add(EngineRequest(number, ids, message["count"], frozenset(message["ends"])))
            running += 1
        for produced in engine.step():
            tokens += len(produced.ids)
            running -= produced.reason is not None
    return tokens
