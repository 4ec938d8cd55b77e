"""All that watches a server: its metrics, those who observe its requests, and the folder that they may write to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from prometheus_client.registry import Collector
from starlette.requests import Request

from edgehone.serve.measured.answers import Answers
from edgehone.serve.measured.callers import Callers
from edgehone.serve.measured.usage import Price, Usage
from edgehone.serve.metrics import Metrics
from edgehone.serve.model import Model
from edgehone.serve.observation import Observer
from edgehone.serve.observers import Observers
from edgehone.serve.record import KEY, Record


class Watcher(Observer, Collector, Protocol):
    """An observer with metrics."""


@dataclass(frozen=True)
class WatchRules:
    """What is measured: by which headers requests are told apart, in how many pairs, and what they cost.

    Of one in `confidence_every` answers of language models the confidence is measured (0: of none).
    """

    tenant_header: str = "X-Tenant"
    route_header: str = "X-Route"
    most_callers: int = 64
    confidence_every: int = 20
    price: Price = field(default_factory=Price)


@dataclass(frozen=True)
class Watching:
    """What watches a server. `state` is a folder for what is kept: the one of --state, or a temporary one."""

    metrics: Metrics
    observers: Observers
    state: Path

    def add(self, watcher: Watcher) -> None:
        """Tell an observer of all requests from now on, and show its metrics."""
        self.observers.add(watcher)
        self.metrics.register(watcher)

    def begin(self, request: Request, model: str, path: str) -> Record:
        """Return the record of an HTTP request to a model that was just found; `path` is that of the operation."""
        scope = request.scope
        record = self.observers.begin(model, path, scope["headers"])
        scope[KEY] = record
        return record


def watch(models: Iterable[Model], rules: WatchRules, state: Path, say: Callable[[str], None]) -> Watching:
    """Return what watches the models of a server, which may change."""
    callers = Callers(rules.tenant_header, rules.route_header, rules.most_callers)
    watching = Watching(Metrics(models), Observers(say, callers, rules.confidence_every), state)
    watching.add(Answers())
    watching.add(Usage(rules.price))
    return watching
