"""All that watches a server: its metrics, those who observe its requests, and the folder that they may write to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request

from edgehone.serve.history.clock import elapsed
from edgehone.serve.history.figures import Reading, reading_of
from edgehone.serve.history.recorder import Recorder
from edgehone.serve.history.store import FILE
from edgehone.serve.measured.answers import Answers
from edgehone.serve.measured.callers import Callers
from edgehone.serve.measured.changed import Changes
from edgehone.serve.measured.readings import Readings
from edgehone.serve.measured.recent import Recent
from edgehone.serve.measured.usage import Price, Usage
from edgehone.serve.metrics import Metrics
from edgehone.serve.model import Model
from edgehone.serve.observation import Observer
from edgehone.serve.observers import Observers
from edgehone.serve.operations import Operation
from edgehone.serve.record import KEY, Record
from edgehone.serve.rollout.split import Split

M = TypeVar("M", bound=Model)
Background = Callable[[], Coroutine[Any, Any, Any]]


class Watcher(Observer, Collector, Protocol):
    """An observer with metrics."""


@dataclass(frozen=True)
class WatchRules:
    """What is measured: by which headers requests are told apart, in how many pairs, and what they cost.

    Of one in `confidence_every` answers of language models the confidence is measured (0: of none). `otlp` is the URL
    of an OpenTelemetry collector.
    """

    tenant_header: str = "X-Tenant"
    route_header: str = "X-Route"
    most_callers: int = 64
    confidence_every: int = 20
    price: Price = field(default_factory=Price)
    otlp: str | None = None


@dataclass(frozen=True)
class Watching:
    """What watches a server. `state` is a folder for what is kept: the one of --state, or a temporary one.

    `about` has functions from a model's name to what a watcher says of it at GET /admin/watch, by the name of the field
    there. `operations` are those of watchers, for whom may ask for the history. Each of `background` runs as long as
    the server does, and is cancelled at its end; then the last records are told, and each of `at_end` is called.
    """

    metrics: Metrics
    observers: Observers
    state: Path
    recent: Recent
    readings: Readings
    say: Callable[[str], None]
    split: Split = field(default_factory=Split)
    about: dict[str, Callable[[str], Any]] = field(default_factory=dict)
    background: list[Background] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    at_end: list[Callable[[], None]] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what runs in the background until the block ends."""
        tasks = [asyncio.create_task(self._run(one)) for one in self.background]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.observers.flush()
            for ending in self.at_end:
                try:
                    ending()
                except Exception as error:  # noqa: BLE001 - the others shall end too
                    self.say(f"warning: {_name(ending)} failed: {type(error).__name__}: {error}")

    def aside(self) -> Watching:
        """Return the watching of copied requests, which are neither counted nor observed."""
        none = Observers(self.say, self.observers.callers)
        return Watching(Metrics(()), none, self.state, Recent(), self.readings, self.say)

    async def now(self) -> None:
        """Update all metrics before they are read. No engine is asked."""
        await self.readings.refresh()
        self.observers.flush()

    async def read(self) -> Reading:
        """Return all metrics as they are now."""
        await self.now()
        return reading_of(self.metrics.collect(), elapsed())

    @property
    def history(self) -> Path:
        """The file of the history. It may not be there yet."""
        return self.state / FILE

    def add(self, watcher: Watcher) -> None:
        """Tell an observer of all requests from now on, and show its metrics."""
        self.observers.add(watcher)
        self.metrics.register(watcher)

    def begin(self, request: Request, model: M, path: str) -> tuple[M, Record]:
        """Return the model that answers an HTTP request to a model that was just found, and the request's record.

        The first is another one while a challenger answers for it. `path` is that of the operation.
        """
        scope = request.scope
        chosen, version = self.split.of(model, scope["headers"])
        record = self.observers.begin(chosen.name, path, scope["headers"])
        record.version = version
        scope[KEY] = record
        return chosen, record

    async def _run(self, background: Background) -> None:
        try:
            await background()
        except Exception as error:  # noqa: BLE001 - what watches must not end what it watches
            self.observers.errors[_name(background)] += 1
            self.say(f"warning: {_name(background)} has ended: {type(error).__name__}: {error}")


class Errors(Collector):
    """How often what watches failed."""

    def __init__(self, observers: Observers) -> None:
        self._observers = observers

    def collect(self) -> Iterable[Metric]:
        """Return the metric."""
        found = CounterMetricFamily(
            "edgehone_observer_errors",
            "Failures of what watches requests; these are answered.",
            labels=["observer"],
        )
        for name, count in self._observers.errors.items():
            found.add_metric([name], count)
        yield found


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", function))


def watch(models: Iterable[Model], rules: WatchRules, state: Path, say: Callable[[str], None]) -> Watching:
    """Return what watches the models of a server, which may change."""
    callers = Callers(rules.tenant_header, rules.route_header, rules.most_callers)
    observers, readings, recent = (
        Observers(say, callers, rules.confidence_every),
        Readings(models, state),
        Recent(),
    )
    watching = Watching(Metrics(models), observers, state, recent, readings, say)
    watching.add(Answers(models))
    watching.add(Usage(lambda: readings.joules, rules.price))
    observers.add(recent)
    changes = Changes(models, say)
    for one in (readings, changes, Errors(observers)):
        watching.metrics.register(one)
    history = Recorder(watching.history, watching.read, say)
    watching.background.extend((changes.run, history.run))
    watching.at_end.append(history.close)
    return watching
