"""The worker's side of conformance: run a build step, or check its result, while network access is blocked.

A Python audit hook gets every connection and every name lookup, and refuses those that leave the machine. It does not
get those of C libraries and of child processes.
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

_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


@dataclass
class Subject:
    """The subject of the worker's checks: two builds of one recipe, and their inputs.

    `facts` are from the suite. For a language model: sample (the original's ids of the plain text), one and other
    (two lists of ids), vocabulary. For a graph: inputs and outputs (name, dtype, shape). `quantized`: the recipe and
    share of quantized weights of another build, or its error. `reached` lists the hosts
    that code in this process tried to reach.
    """

    job: WorkerJob
    facts: dict[str, Any]
    reached: list[str]
    memory: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def open(self, part: str = "artifact") -> Iterator[Any]:
        """Open a session of a build ("artifact", or "again" for the second). It is closed on exit."""
        backend, of_graph = load_backend(self.job), self.job.args["kind"] == "graph"
        open_: Any = require(backend, GraphBackend).open_graph if of_graph else backend.open_session
        session = open_(self.job.inputs[part], self.job.args["settings"], self.job)
        try:
            yield session
        finally:
            session.close()


def step(job: WorkerJob) -> dict[str, Any]:
    """Run a build step. args: call, params. Returns its facts and `reached`: the hosts that it tried to reach."""
    reached = watch_network()
    module, _, function = job.args["call"].partition(":")
    facts = getattr(importlib.import_module(module), function)(replace(job, args=job.args["params"]))
    return {"facts": facts, "reached": reached}


def observe(job: WorkerJob) -> dict[str, Any]:
    """Run checks on an artifact.

    args: backend, settings, kind, checks (their names), facts. inputs: artifact and again (two builds). Returns
    `outcomes`, as JSON objects.
    """
    subject = Subject(job, job.args["facts"], watch_network())
    known = {check.__name__: check for check in checks(job.args["kind"])}
    outcomes: list[dict[str, str]] = []
    for name in job.args["checks"]:
        job.progress(len(outcomes) / len(job.args["checks"]), name)
        outcomes.append(perform(known[name], subject).to_json())
    return {"outcomes": outcomes}


def checks(kind: str) -> tuple[Any, ...]:
    """Return the worker's checks for a kind of model."""
    module = importlib.import_module(
        f"edgehone.worker.conformance.{'graph_checks' if kind == 'graph' else 'session_checks'}"
    )
    found: tuple[Any, ...] = module.CHECKS
    return found


def watch_network() -> list[str]:
    """Refuse network access of this process from now on. Returns the list to which each host is appended."""
    reached: list[str] = []

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        host = None
        if event == "socket.getaddrinfo":
            host = args[0]
        elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
            host = args[1][0]
        if host is None or str(host) in _LOCAL_HOSTS:
            return
        reached.append(str(host))
        raise PermissionError(f"network access is not allowed in a worker: {host}")

    sys.addaudithook(refuse)
    return reached
