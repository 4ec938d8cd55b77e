"""One request of the workload, answered again and again: what speed, memory and energy are measured by (worker side).

A language model is asked for a prompt's continuation, by the framework's own loop. A graph is run on a batch of
the user's samples, another batch each time, so that nothing can answer from memory.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any, Protocol

from edgehone.errors import EdgehoneError
from edgehone.measure.batches import Batches

if TYPE_CHECKING:
    from edgehone.backends.base import Generation, GraphSession, Session, WorkerJob


class Requests(Protocol):
    """An opened artifact and what is asked of it."""

    def answer(self) -> dict[str, float]:
        """Seconds of one whole request, `total`; for a language model to the first token too, `ttft`."""
        ...

    def close(self) -> None:
        """Give memory back."""
        ...


def open_requests(job: WorkerJob) -> Requests:
    """Open the artifact. args: backend, settings, and either prompt (ids) and generated, or batch.

    inputs: artifact, and for a graph `samples`, a folder with samples.npz.
    """
    backend = importlib.import_module(job.args["backend"])
    artifact, settings = job.inputs["artifact"], job.args["settings"]
    if "prompt" in job.args:
        session = backend.open_session(artifact, settings, job)
        return _Generations(session, job.args["prompt"], job.args["generated"])
    batches = Batches.read(job.inputs["samples"])
    return _Runs(backend.open_graph(artifact, settings, job), batches, job.args["batch"])


class _Generations:
    def __init__(self, session: Session, prompt: list[int], count: int) -> None:
        self.session, self.prompt, self.count = session, prompt, count

    def answer(self) -> dict[str, float]:
        made: Generation = self.session.generate(self.prompt, self.count)
        if len(made.ids) != self.count or len(made.times) != self.count:
            raise EdgehoneError(
                f"asked for {self.count} tokens, got {len(made.ids)} ids and {len(made.times)} times"
            )
        return {"ttft": made.times[0] - made.started, "total": made.times[-1] - made.started}

    def close(self) -> None:
        self.session.close()


class _Runs:
    def __init__(self, session: GraphSession, batches: Batches, size: int) -> None:
        self.session, self.batches, self.size = session, batches, size
        self.at = 0

    def answer(self) -> dict[str, float]:
        feeds: dict[str, Any] = self.batches.around(self.at, self.size)
        self.at += self.size
        started = time.perf_counter()
        self.session.run(feeds)
        return {"total": time.perf_counter() - started}

    def close(self) -> None:
        self.session.close()
