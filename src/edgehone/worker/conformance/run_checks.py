"""The worker's side of conformance: build a step, and look at what was built, with the network watched.

Python's audit hook hears every connection and every name that is looked up, and refuses what leaves the machine.
It does not hear what a library does in C, nor what a tool does that was started as a process of its own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from edgehone.backends.capabilities import GraphBackend, require
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.worker.backend import load_backend
from edgehone.worker.conformance.outcome import perform

_HOSTS = {"localhost", "127.0.0.1", "::1"}


@dataclass
class Subject:
    """What the worker's checks look at: two builds of one recipe, and what to ask them.

    `facts` are those of the suite: for a language model sample (the original's ids of the fixed sample), one and
    other (two lists of ids), vocabulary; for a graph inputs and outputs (name, dtype, shape).
    """

    job: WorkerJob
    facts: dict[str, Any]
    reached: list[str]
    memory: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def open(self, part: str = "artifact") -> Iterator[Any]:
        """A session of a build ("artifact", or "again" for the second), closed afterwards."""
        backend, of_graph = load_backend(self.job), self.job.args["kind"] == "graph"
        make: Any = require(backend, GraphBackend).open_graph if of_graph else backend.open_session
        session = make(self.job.inputs[part], self.job.args["settings"], self.job)
        try:
            yield session
        finally:
            session.close()


def step(job: WorkerJob) -> dict[str, Any]:
    """Make a build's step. args: call, params. Returns its facts and `reached`: the hosts that it asked for."""
    reached = watch_network()
    module, _, function = job.args["call"].partition(":")
    facts = getattr(importlib.import_module(module), function)(replace(job, args=job.args["params"]))
    return {"facts": facts, "reached": reached}


def observe(job: WorkerJob) -> dict[str, Any]:
    """Run checks on an artifact. args: backend, settings, kind, checks (their names), facts.

    inputs: artifact and again (two builds). Returns `outcomes`, as JSON.
    """
    subject = Subject(job, job.args["facts"], watch_network())
    known = {check.__name__: check for check in checks(job.args["kind"])}
    outcomes: list[dict[str, str]] = []
    for name in job.args["checks"]:
        job.progress(len(outcomes) / len(job.args["checks"]), name)
        outcomes.append(perform(known[name], subject).to_json())
    return {"outcomes": outcomes}


def checks(kind: str) -> tuple[Any, ...]:
    """The worker's checks for a kind of model."""
    module = importlib.import_module(
        f"edgehone.worker.conformance.{'graph_checks' if kind == 'graph' else 'session_checks'}"
    )
    found: tuple[Any, ...] = module.CHECKS
    return found


def watch_network() -> list[str]:
    """From now on note and refuse, in this process, whatever leaves the machine; gives the list that fills."""
    reached: list[str] = []

    def hear(event: str, args: tuple[Any, ...]) -> None:
        host = None
        if event == "socket.getaddrinfo":
            host = args[0]
        elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
            host = args[1][0]
        if host is None or str(host) in _HOSTS:
            return
        reached.append(str(host))
        raise PermissionError(f"no network in a worker: {host} was asked for")

    sys.addaudithook(hear)
    return reached
