"""Several clients before one session, in a closed loop: each sends its next request when its last was answered.

A request of a language model is a batch of prompts, each another piece of the text. A session that serves many at once
(`generate_many`) is given all that wait; another serves them one after another, and then waiting is part of a request's
latency: that is what a client sees. The same holds for graphs, whose clients are threads.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from edgehone.backends.capabilities import ConcurrentGraphBackend, GraphBackend, capability, require
from edgehone.backends.sessions import ConcurrentSession
from edgehone.core.errors import EdgehoneError

if TYPE_CHECKING:
    from edgehone.backends.base import Backend
    from edgehone.backends.sessions import (
        Generation,
        GraphSession,
        Session,
        WorkerJob,
    )
    from edgehone.worker.batches import Batches

# A client of a graph asks for at least so long in a turn: threads that start and end must not be what is measured.
TURN_SECONDS = 0.1
# Batches that are cut beforehand: a client that cuts one is a client that does not ask.
FEEDS = 64


class Prompts:
    """Clients of a language model. A turn answers each of them once."""

    def __init__(
        self, session: Session, prompts: Sequence[Sequence[int]], count: int, batch: int, clients: int
    ) -> None:
        self.session, self.count, self.batch = session, count, batch
        self.prompts: Iterator[Sequence[int]] = itertools.cycle(prompts)
        self.clients = clients
        self.sent: list[float] = []  # when each client sent what it waits for

    def answer(self) -> list[dict[str, float]]:
        """Seconds to the first token of all prompts of a request, and to the last, from when it was sent."""
        sent = self.sent or [time.perf_counter()] * self.clients
        asked = [list(itertools.islice(self.prompts, self.batch)) for _ in sent]
        done = self._serve(asked)
        self.sent = [max(one.times[-1] for one in made) for made in done]
        return [
            {"ttft": max(one.times[0] for one in made) - start, "total": end - start}
            for made, start, end in zip(done, sent, self.sent, strict=True)
        ]

    def _serve(self, asked: list[list[Sequence[int]]]) -> list[list[Generation]]:
        """The generations of each request."""
        concurrent = capability(self.session, ConcurrentSession)
        flat = [prompt for request in asked for prompt in request]
        if concurrent:
            made = concurrent.generate_many(flat, self.count)
        else:
            made = [self.session.generate(prompt, self.count) for prompt in flat]
        for one in made:
            check_made(one, self.count)
        return [made[at : at + self.batch] for at in range(0, len(made), self.batch)]

    def close(self) -> None:
        """Give memory back."""
        self.session.close()


def check_made(made: Generation, count: int) -> None:
    """Raise EdgehoneError where a generation has not `count` tokens, each with its moment."""
    if len(made.ids) != count or len(made.times) != count:
        raise EdgehoneError(f"asked for {count} tokens, got {len(made.ids)} ids and {len(made.times)} times")


def open_samples(backend: Backend, job: WorkerJob, batches: Batches) -> Samples:
    """Clients of a graph; args and inputs are those of `requests.open_requests`."""
    artifact, settings, clients = job.inputs["artifact"], job.args["settings"], job.args["clients"]
    size = job.args["batch"]
    if concurrent := capability(backend, ConcurrentGraphBackend):
        return Samples(concurrent.open_graph_many(artifact, settings, job, clients), batches, size, clients)
    session = require(backend, GraphBackend).open_graph(artifact, settings, job)
    return Samples(session, batches, size, clients, one_by_one=True)


class Samples:
    """Clients of a graph, a thread each. `one_by_one` serves them in the order in which they came."""

    def __init__(
        self, session: GraphSession, batches: Batches, size: int, clients: int, one_by_one: bool = False
    ) -> None:
        self.session = session
        distinct = min(FEEDS, -(-batches.count // size))
        self.feeds = [batches.around(at * size, size) for at in range(distinct)]
        self.server = ThreadPoolExecutor(1) if one_by_one else None
        self.pool = ThreadPoolExecutor(clients)
        self.asked = [0] * clients

    def answer(self) -> list[dict[str, float]]:
        """Seconds of each request, waiting for its turn included."""
        made = list(self.pool.map(self._ask, range(len(self.asked))))
        return [{"total": total} for totals in made for total in totals]

    def _ask(self, client: int) -> list[float]:
        totals: list[float] = []
        begun = time.perf_counter()
        while not totals or time.perf_counter() - begun < TURN_SECONDS:
            # Other samples than the clients beside it, and than it asked for before.
            feeds = self.feeds[(client + len(self.asked) * self.asked[client]) % len(self.feeds)]
            self.asked[client] += 1
            started = time.perf_counter()
            if self.server:
                self.server.submit(self.session.run, feeds).result()
            else:
                self.session.run(feeds)
            totals.append(time.perf_counter() - started)
        return totals

    def close(self) -> None:
        """End the threads, give memory back."""
        for pool in (self.pool, self.server):
            if pool:
                pool.shutdown()
        self.session.close()
