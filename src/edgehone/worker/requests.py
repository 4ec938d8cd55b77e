"""The requests of a workload, as speed, memory and energy are measured by (worker side).

A language model continues a prompt by the framework's own loop. A graph runs on a batch of the user's samples, on
another batch each time so that no cache can answer. `worker.load` sends the requests of several clients at once,
`worker.stream` the frames of a camera.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Protocol

from edgehone.backends.capabilities import GraphBackend, VisionBackend, require
from edgehone.backends.shared.drafts import drafts
from edgehone.inputs.batches import Batches
from edgehone.worker import load, score_pictures, sequences, stream
from edgehone.worker.backend import load_backend
from edgehone.worker.clock import clock_of
from edgehone.worker.pieces import Pieces, equal_ends

if TYPE_CHECKING:
    from edgehone.backends.sessions import (
        Clock,
        Generation,
        GraphSession,
        Session,
        VisionSession,
        WorkerJob,
    )


class Requests(Protocol):
    """An opened artifact and the requests that it answers. `clock` is the one that they are timed by."""

    clock: Clock

    @property
    def session(self) -> object:
        """The backend's session."""
        ...

    def answer(self) -> list[dict[str, Any]]:
        """Answer one turn: a request of every client, or some frames of a stream.

        Return for each request its seconds, `total`, and for a language model those to the first token, `ttft`. A
        single client's request may have `pieces` as well (see `worker.pieces`).
        """
        ...

    def close(self) -> None:
        """Close the session."""
        ...


def open_requests(job: WorkerJob) -> Requests:
    """Open the artifact and return the requests to send to it.

    args: `backend`, `settings`, and
    - for a language model: `generated` with `prompt` (ids); or with `prompts` (lists of ids, all different), `batch`
      and `clients`; or alone, if pictures are among the inputs;
    - for a graph: `batch`, and `clients`, or `frames_per_s` and `deadline_ms`; `most_samples` limits those loaded.
    inputs: `artifact`, and for a graph `samples` (a folder with samples.npz), for a vision-language model `pictures`
    (see `worker.prepare_pictures`).
    """
    args, artifact = job.args, job.inputs["artifact"]
    backend = load_backend(job)
    if "prompts" in args:
        session = backend.open_session(artifact, args["settings"], job)
        return load.Prompts(session, args["prompts"], args["generated"], args["batch"], args["clients"])
    if "prompt" in args:
        session = backend.open_session(artifact, args["settings"], job)
        return _TextRequests(session, args["prompt"], args["generated"], drafts(args["settings"]))
    if "pictures" in job.inputs:
        return _PictureRequests(
            require(backend, VisionBackend).open_vision(artifact, args["settings"], job), job
        )
    batches = Batches.read(job.inputs["samples"], args.get("most_samples")).for_timing()
    if "clients" in args:
        return load.open_samples(backend, job, batches)
    graph = require(backend, GraphBackend).open_graph(artifact, args["settings"], job)
    if "frames_per_s" in args:
        return stream.Frames(graph, batches, args["batch"], args["frames_per_s"], args["deadline_ms"] / 1000)
    return _GraphRequests(graph, batches, args["batch"])


class _TextRequests:
    """The same prompt again and again. With drafts the answer is timed in pieces of equal text."""

    def __init__(self, session: Session, prompt: list[int], count: int, drafted: bool) -> None:
        self.session, self.prompt, self.count = session, prompt, count
        self.clock = clock_of(session)
        self.pieces = Pieces(self.clock, equal_ends(count) if drafted else None)

    def answer(self) -> list[dict[str, Any]]:
        self.pieces.begin()
        generation = self.session.generate(self.prompt, self.count, self.pieces.on_token)
        return [_seconds_of(generation, self.count) | self.pieces.of(generation)]

    def close(self) -> None:
        self.session.close()


class _PictureRequests:
    """Prompts about pictures, one picture after another, starting over at the end."""

    def __init__(self, session: VisionSession, job: WorkerJob) -> None:
        self.session, self.count = session, job.args["generated"]
        self.clock = clock_of(session)
        self.shown = itertools.cycle(list(score_pictures.shown(job)))
        self.pieces = Pieces(self.clock)

    def answer(self) -> list[dict[str, Any]]:
        self.pieces.begin()
        generation = self.session.describe(*next(self.shown), self.count, self.pieces.on_token)
        return [_seconds_of(generation, self.count) | self.pieces.of(generation)]

    def close(self) -> None:
        self.session.close()


class _GraphRequests:
    """Batches of the samples, one after another, starting over at the end. A sample may be a whole sequence."""

    def __init__(self, session: GraphSession, batches: Batches, size: int) -> None:
        self.session, self.batches, self.size = session, batches, size
        self.run = sequences.runner(session, batches.axes)
        self.clock = clock_of(session)
        self.position = 0

    def answer(self) -> list[dict[str, Any]]:
        feeds: dict[str, Any] = self.batches.around(self.position, self.size)
        self.position += self.size
        started = self.clock.now()
        self.run(feeds)
        return [{"total": self.clock.now() - started}]

    def close(self) -> None:
        self.session.close()


def _seconds_of(generation: Generation, count: int) -> dict[str, Any]:
    load.check_length(generation, count)
    started, times = generation.started, generation.times
    return {"ttft": times[0] - started, "total": times[-1] - started}
