"""Several clients of one session in a closed loop: each sends its next request when its last one was answered.

A request to a language model is a batch of prompts, each a different piece of the text. A session that serves several
requests at once (`generate_many`) gets all that wait. Any other serves them one after another, and the time spent
waiting is part of a request's latency, as a client experiences it. The same holds for graphs, whose clients are
threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import ConcurrentGraphBackend, GraphBackend, capability, require
from edgehone.backends.sessions import ConcurrentSession
from edgehone.core.errors import EdgehoneError
from edgehone.worker import sequences
from edgehone.worker.clock import clock_of

if TYPE_CHECKING:
    from edgehone.backends.base import Backend
    from edgehone.backends.sessions import (
        Generation,
        GraphSession,
        Session,
        WorkerJob,
    )
    from edgehone.inputs.batches import Batches

# A client of a graph sends requests for at least this long in a turn: starting and ending threads must not count.
TURN_SECONDS = 0.1
# Batches that are cut beforehand: while a client cuts a batch, it sends no request.
FEEDS = 64


class Prompts:
    """Clients of a language model. In a turn each of them is answered once."""

    def __init__(
        self, session: Session, prompts: Sequence[Sequence[int]], count: int, batch: int, clients: int
    ) -> None:
        self.session, self.count, self.batch = session, count, batch
        self.prompts: Iterator[Sequence[int]] = itertools.cycle(prompts)
        self.clients = clients
        self.clock = clock_of(session)
        self.sent: list[float] = []  # when each client sent the request that it waits for

    def answer(self) -> list[dict[str, Any]]:
        """Answer one request of each client.

        Return for each the seconds from sending it until all its prompts have their first token, `ttft`, and until they
        have their last, `total`.
        """
        sent = self.sent or [self.clock.now()] * self.clients
        requests = [list(itertools.islice(self.prompts, self.batch)) for _ in sent]
        answers = self._serve(requests)
        self.sent = [max(one.times[-1] for one in answer) for answer in answers]
        return [
            {"ttft": max(one.times[0] for one in answer) - start, "total": end - start}
            for answer, start, end in zip(answers, sent, self.sent, strict=True)
        ]

    def _serve(self, requests: list[list[Sequence[int]]]) -> list[list[Generation]]:
        """Return the generations of each request."""
        concurrent = capability(self.session, ConcurrentSession)
        flat = [prompt for request in requests for prompt in request]
        if concurrent:
            generations = concurrent.generate_many(flat, self.count)
        else:
            generations = [self.session.generate(prompt, self.count) for prompt in flat]
        for one in generations:
            check_length(one, self.count)
        return [generations[at : at + self.batch] for at in range(0, len(generations), self.batch)]

    def close(self) -> None:
        """Close the session."""
        self.session.close()


def check_length(generation: Generation, count: int) -> None:
    """Raise EdgehoneError unless a generation has `count` tokens and a time for each."""
    ids, times = len(generation.ids), len(generation.times)
    if ids != count or times != count:
        raise EdgehoneError(f"asked for {count} tokens, got {ids} ids and {times} times")


def open_samples(backend: Backend, job: WorkerJob, batches: Batches) -> Samples:
    """Open the clients of a graph. args and inputs are those of `requests.open_requests`."""
    artifact, settings, clients = job.inputs["artifact"], job.args["settings"], job.args["clients"]
    size = job.args["batch"]
    if concurrent := capability(backend, ConcurrentGraphBackend):
        return Samples(concurrent.open_graph_many(artifact, settings, job, clients), batches, size, clients)
    session = require(backend, GraphBackend).open_graph(artifact, settings, job)
    return Samples(session, batches, size, clients, one_by_one=True)


class Samples:
    """Clients of a graph, one thread each. `one_by_one`: requests are served in the order in which they arrive."""

    def __init__(
        self, session: GraphSession, batches: Batches, size: int, clients: int, one_by_one: bool = False
    ) -> None:
        self.session, self.clock = session, clock_of(session)
        self.run = sequences.runner(session, batches.axes)
        distinct = min(FEEDS, -(-batches.count // size))
        self.feeds = [batches.around(at * size, size) for at in range(distinct)]
        self.server = ThreadPoolExecutor(1) if one_by_one else None
        self.pool = ThreadPoolExecutor(clients)
        self.sent = [0] * clients  # requests of each client so far

    def answer(self) -> list[dict[str, Any]]:
        """Answer requests of all clients for 0.1 s; return each request's seconds, its waiting included."""
        seconds = list(self.pool.map(self._answer_client, range(len(self.sent))))
        return [{"total": total} for totals in seconds for total in totals]

    def _answer_client(self, client: int) -> list[float]:
        totals: list[float] = []
        begun = self.clock.now()
        while not totals or self.clock.now() - begun < TURN_SECONDS:
            # Samples that neither the other clients send now nor this client sent before.
            feeds = self.feeds[(client + len(self.sent) * self.sent[client]) % len(self.feeds)]
            self.sent[client] += 1
            started = self.clock.now()
            if self.server:
                self.server.submit(self.run, feeds).result()
            else:
                self.run(feeds)
            totals.append(self.clock.now() - started)
        return totals

    def close(self) -> None:
        """End the threads and close the session."""
        for pool in (self.pool, self.server):
            if pool:
                pool.shutdown()
        self.session.close()
