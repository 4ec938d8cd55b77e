"""What the workload asks, again and again: what speed, memory and energy are measured by (worker side).

A language model is asked for a prompt's continuation, by the framework's own loop. A graph is run on a batch of
the user's samples, another batch each time, so that nothing can answer from memory. Where several ask at once, or
frames come at their own pace, `measure.load` and `measure.stream` do the asking.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, Protocol

from edgehone.backends.capabilities import GraphBackend, VisionBackend, require
from edgehone.worker import load, score_pictures, stream
from edgehone.worker.backend import load_backend
from edgehone.worker.batches import Batches

if TYPE_CHECKING:
    from edgehone.backends.sessions import (
        GraphSession,
        Session,
        VisionSession,
        WorkerJob,
    )


class Requests(Protocol):
    """An opened artifact and what is asked of it."""

    def answer(self) -> list[dict[str, float]]:
        """A turn: every client is answered once, a stream some frames.

        Seconds of each whole request, `total`; for a language model to the first token too, `ttft`.
        """
        ...

    def close(self) -> None:
        """Give memory back."""
        ...


def open_requests(job: WorkerJob) -> Requests:
    """Open the artifact.

    args: backend, settings, and of a language model generated, with prompt (ids), or with prompts (different ones),
    batch and clients, or alone where it is shown pictures; of a graph batch, and clients, or frames_per_s and
    deadline_ms.
    inputs: artifact, and for a graph `samples`, a folder with samples.npz, or `pictures` (see `prepare_pictures`).
    """
    args, artifact = job.args, job.inputs["artifact"]
    backend = load_backend(job)
    if "prompts" in args:
        session = backend.open_session(artifact, args["settings"], job)
        return load.Prompts(session, args["prompts"], args["generated"], args["batch"], args["clients"])
    if "prompt" in args:
        session = backend.open_session(artifact, args["settings"], job)
        return _Generations(session, args["prompt"], args["generated"])
    if "pictures" in job.inputs:
        return _Answers(require(backend, VisionBackend).open_vision(artifact, args["settings"], job), job)
    batches = Batches.read(job.inputs["samples"])
    if "clients" in args:
        return load.open_samples(backend, job, batches)
    graph = require(backend, GraphBackend).open_graph(artifact, args["settings"], job)
    if "frames_per_s" in args:
        return stream.Frames(graph, batches, args["batch"], args["frames_per_s"], args["deadline_ms"] / 1000)
    return _Runs(graph, batches, args["batch"])


class _Generations:
    def __init__(self, session: Session, prompt: list[int], count: int) -> None:
        self.session, self.prompt, self.count = session, prompt, count

    def answer(self) -> list[dict[str, float]]:
        made = self.session.generate(self.prompt, self.count)
        load.check_made(made, self.count)
        return [{"ttft": made.times[0] - made.started, "total": made.times[-1] - made.started}]

    def close(self) -> None:
        self.session.close()


class _Answers:
    def __init__(self, session: VisionSession, job: WorkerJob) -> None:
        self.session, self.count = session, job.args["generated"]
        self.shown = itertools.cycle(list(score_pictures.shown(job)))

    def answer(self) -> list[dict[str, float]]:
        made = self.session.describe(*next(self.shown), self.count)
        load.check_made(made, self.count)
        return [{"ttft": made.times[0] - made.started, "total": made.times[-1] - made.started}]

    def close(self) -> None:
        self.session.close()


class _Runs:
    def __init__(self, session: GraphSession, batches: Batches, size: int) -> None:
        self.session, self.batches, self.size = session, batches, size
        self.at = 0

    def answer(self) -> list[dict[str, float]]:
        feeds: dict[str, Any] = self.batches.around(self.at, self.size)
        self.at += self.size
        started = time.perf_counter()
        self.session.run(feeds)
        return [{"total": time.perf_counter() - started}]

    def close(self) -> None:
        self.session.close()
