"""The bench: what every stage of a run needs, gathered once and then only read."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from typing import Any

from edgehone.backends import registry
from edgehone.backends.base import Backend, Effort, Recipe, ReferenceBackend
from edgehone.device.detect import Device
from edgehone.events import Emit, Event, State
from edgehone.jobs.environments import Env
from edgehone.jobs.run import Input, Job, Limits, run
from edgehone.jobs.store import JobResult
from edgehone.measure.workload import Workload
from edgehone.model.info import ModelInfo
from edgehone.plan.target import Target


@dataclass(frozen=True)
class Depth:
    """How much is measured at an effort: data/efforts.toml says what and why."""

    windows: int
    window: int
    rounds: int
    seconds: float
    budget: float
    samples: int
    tuning: float = 0.0


@dataclass(frozen=True)
class Bench:
    """Model, device, workload, backends with their environments, and whom to tell."""

    model: ModelInfo
    source: Input  # the original's folder and digest
    device: Device
    workload: Workload
    depth: Depth
    backends: Mapping[str, Backend]
    environments: Mapping[str, Env]
    origin: ReferenceBackend  # runs the original itself
    limits: Limits
    emit: Emit
    texts: Mapping[str, Input] = field(default_factory=dict)  # evaluation, calibration, perhaps task
    metric: str | None = None  # what a graph is judged by, where the user named it
    pixels: Mapping[str, Any] = field(default_factory=dict)  # how images become numbers: scale, mean, std
    target: Target | None = (
        None  # the device that figures are predicted for; None: this one, where they are read
    )
    occasion: str = ""  # measurements of another occasion are not taken from the store

    def run(
        self,
        backend: str,
        call: str,
        args: Mapping[str, Any],
        inputs: Mapping[str, Input],
        *,
        opens: bool = False,
        tell: Callable[[float, str], None] = lambda fraction, what: None,
        silent: float | None = None,
        **more: Any,
    ) -> JobResult:
        """One job in a backend's environment; `opens` tells that it opens a session of that backend.

        It has as many threads as its settings name, else all that may be used. `silent` is how many seconds may
        pass without a word of progress.
        """
        module = registry.module_name(backend)
        if self.occasion and more.get("exclusive"):
            more["also"] = {**more.get("also", {}), "occasion": self.occasion}
        job = Job(
            call,
            self.environments[backend],
            {**args, "backend": module} if opens else args,
            inputs,
            threads=threads_of(args.get("settings", {}), self.device),
            backend=module if opens else None,
            limits=replace(self.limits, silent=silent),
            **more,
        )
        return run(job, tell)

    def tell(self, recipe: Recipe, state: State, detail: str = "") -> Callable[[float, str], None]:
        """Announce a recipe's new state; returns the function that reports its progress."""
        self.emit(Event(recipe.key, state, detail))
        return partial(self._progress, recipe.key, state)

    def _progress(self, key: str, state: State, fraction: float, what: str) -> None:
        self.emit(Event(key, state, what, fraction))


def threads_of(settings: Mapping[str, Any], machine: Device) -> int:
    """The threads of a session: those that its settings name, never more than may be used here."""
    return min(int(settings.get("threads") or machine.threads), machine.threads)


def depth(effort: Effort) -> Depth:
    """The depth that data/efforts.toml gives an effort."""
    table = tomllib.loads(files("edgehone").joinpath("data/efforts.toml").read_text("utf-8"))
    return Depth(**table[effort])
