"""Answer requests to a graph until the parent closes the channel, for `edgehone serve` (worker side).

Requests that have come are joined to one batch if their samples may be (`joined_requests`). Each thread that is free
receives, takes the next batch and runs it, one after another: no request is handed from thread to thread.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import ConcurrentGraphBackend, GraphBackend, require
from edgehone.backends.sessions import ShapeBoundSession, WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.inputs import samples
from edgehone.inputs.axes import Axes
from edgehone.worker import canaries, sequences
from edgehone.worker.backend import load_backend
from edgehone.worker.frames import Frames
from edgehone.worker.joined_requests import Joining, find_joining

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgehone.backends.sessions import GraphSession


def serve(job: WorkerJob) -> dict[str, Any]:
    """Open the artifact and answer requests.

    args: backend, settings, inputs (the model's, in the form of ModelInfo.to_json), axes (Axes.to_json), clients (the
    batches that run at the same time), batch (the most samples of one; 1: requests are not batched), delay (the seconds
    that a request waits for others) and channel, the file descriptor of a socket. inputs: artifact, canaries.

    Messages have the form of `worker.frames`. The first one sent is {"ready": true, "batch": the most samples of a
    batch, "joining": a sentence on it, "outputs": the axis of the samples by output, where known}. Messages received
    are requests, {"outputs": names or null} with the inputs, and {"cancel": number}. Messages sent are {"together": the
    number of requests in the batch} with the outputs, {"refused": why} for a request that cannot be answered, and
    {"error": why}. Returns answered, the number of answers.
    """
    frames, args = Frames(job.args["channel"]), job.args
    session = _open(job)
    joining, said = None, "a batch has one sample at most"
    if args["batch"] > 1:
        joining, said = _joining(session, job)
    run = sequences.runner(session, Axes.from_json(args["axes"]), keep_states=True)
    most = args["batch"] if joining else 1
    found = dict(joining.outputs) if joining else {}
    frames.send({"ready": True, "batch": most, "joining": said, "outputs": found})
    waiting = _Waiting(frames, joining, most, args["delay"])
    workers = [_Worker(run, frames, waiting) for _ in range(args["clients"])]
    for worker in workers[1:]:
        worker.start()
    workers[0].run()
    for worker in workers[1:]:
        worker.join()
    session.close()
    return {"answered": sum(worker.answered for worker in workers)}


def _open(job: WorkerJob) -> GraphSession:
    """Open the session that was measured: for one client, or for several at the same time."""
    backend, artifact, settings = load_backend(job), job.inputs["artifact"], job.args["settings"]
    if job.args["clients"] > 1:
        many = require(backend, ConcurrentGraphBackend)
        return many.open_graph_many(artifact, settings, job, job.args["clients"])
    return require(backend, GraphBackend).open_graph(artifact, settings, job)


def _joining(session: GraphSession, job: WorkerJob) -> tuple[Joining | None, str]:
    if isinstance(session, ShapeBoundSession):
        return None, "the device takes fixed shapes"
    tensors = [samples.tensor(one) for one in job.args["inputs"]]
    questions = [question for question, _ in canaries.read(job.inputs["canaries"])]
    axes = Axes.from_json(job.args["axes"])
    return find_joining(sequences.runner(session, axes), questions, tensors, axes)


def joining(job: WorkerJob) -> dict[str, Any]:
    """Find out whether requests to the artifact may be joined to one batch.

    args: backend, settings, inputs, axes. inputs: artifact, canaries. Returns axes (those of the samples by output,
    None if requests must not be joined) and reason (a sentence).
    """
    session = require(load_backend(job), GraphBackend).open_graph(
        job.inputs["artifact"], job.args["settings"], job
    )
    found, reason = _joining(session, job)
    session.close()
    return {"axes": None if found is None else dict(found.outputs), "reason": reason}


@dataclass(frozen=True)
class _Asked:
    """A request: its inputs, the outputs that are wanted, its samples, and what joined requests have in common."""

    number: int
    feeds: Mapping[str, NDArray[Any]]
    outputs: Sequence[str] | None
    rows: int
    key: tuple[Any, ...] | None
    at: float


class _Waiting:
    """The requests that have come and are not running yet."""

    def __init__(self, frames: Frames, joining: Joining | None, most: int, delay: float) -> None:
        self._frames, self.joining, self._most, self._delay = frames, joining, most, delay
        self._asked: deque[_Asked] = deque()
        self._turn = threading.Lock()

    def take(self) -> list[_Asked]:
        """Return the requests of the next batch; none after the last one."""
        with self._turn:
            while True:
                while not self._asked:
                    if not self._receive(None):
                        return []
                while self._receive(0):
                    pass
                self._wait_for_others()
                if self._asked:  # not cancelled meanwhile
                    return self._batch()

    def _wait_for_others(self) -> None:
        """Receive until the first request's batch is full, or it has waited long enough."""
        while self._delay > 0 and self._asked and self._room(self._asked[0]) and not self._frames.ended:
            left = self._asked[0].at + self._delay - time.monotonic()
            if left <= 0:
                return
            self._receive(left)

    def _room(self, first: _Asked) -> bool:
        """Whether a batch with the first request would take further ones."""
        rows = sum(one.rows for one in self._asked if one.key == first.key)
        return first.key is not None and rows < self._most

    def _batch(self) -> list[_Asked]:
        """Remove the first request and those that can be joined with it."""
        batch = [self._asked.popleft()]
        if batch[0].key is None:
            return batch
        room, others = self._most - batch[0].rows, deque[_Asked]()
        for one in self._asked:
            if one.key == batch[0].key and one.rows <= room:
                batch.append(one)
                room -= one.rows
            else:
                others.append(one)
        self._asked = others
        return batch

    def _receive(self, seconds: float | None) -> bool:
        """Receive a message, if one comes in time."""
        received = self._frames.take(seconds)
        if received is None:
            return False
        said = received.said
        if "cancel" in said:
            self._asked = deque(one for one in self._asked if one.number != said["cancel"])
            return True
        feeds = received.arrays()
        # First states of sequences, which the canaries do not give, come with one request only.
        joins = self.joining if self.joining and feeds.keys() == self.joining.inputs.keys() else None
        rows, key = (joins.rows(feeds), joins.key(feeds)) if joins else (1, None)
        self._asked.append(_Asked(received.number, feeds, said["outputs"], rows, key, time.monotonic()))
        return True


def _wanted(found: dict[str, NDArray[Any]], names: Sequence[str] | None) -> dict[str, NDArray[Any]]:
    """Return the outputs of these names. Raises EdgehoneError for a state of a request that gives no first states."""
    if absent := [name for name in names or () if name not in found]:
        raise EdgehoneError(f"the state {absent[0]!r} is returned to requests that give the first states")
    return found if names is None else {name: found[name] for name in names}


class _Worker(threading.Thread):
    """Runs one batch after another."""

    def __init__(self, run: sequences.Run, frames: Frames, waiting: _Waiting) -> None:
        super().__init__(name="graph", daemon=True)
        self._graph, self._frames, self._waiting = run, frames, waiting
        self.answered = 0

    def run(self) -> None:
        """Answer until the parent closes the channel."""
        while batch := self._waiting.take():
            self._answer(batch)

    def _answer(self, batch: list[_Asked]) -> None:
        try:
            answers = self._run(batch)
        except Exception as error:  # noqa: BLE001 - a framework may raise any type; only this request fails
            if len(batch) > 1:  # one of them cannot be answered, the others can
                for one in batch:
                    self._answer([one])
                return
            self._fail(batch[0].number, error)
            return
        for one, outputs in zip(batch, answers, strict=True):
            self._frames.send({"together": len(batch)}, outputs, one.number)
            self.answered += 1

    def _run(self, batch: list[_Asked]) -> list[dict[str, NDArray[Any]]]:
        """Return the outputs of each request that it wants."""
        joining = self._waiting.joining
        if len(batch) == 1 or joining is None:
            results = [self._graph(batch[0].feeds)]
        else:
            together = self._graph(joining.joined([one.feeds for one in batch]))
            results = joining.parted(together, [one.rows for one in batch])
        return [_wanted(found, one.outputs) for one, found in zip(batch, results, strict=True)]

    def _fail(self, number: int, error: Exception) -> None:
        if isinstance(error, EdgehoneError):
            self._frames.send({"refused": error.message}, number=number)
            return
        traceback.print_exception(error)
        self._frames.send({"error": f"{type(error).__name__}: {error}"}, number=number)
