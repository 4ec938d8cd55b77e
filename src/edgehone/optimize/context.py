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
from edgehone.core.errors import InputError
from edgehone.core.events import Emit, Event, State
from edgehone.device.detect import Device
from edgehone.execution.environments.environment import Env
from edgehone.execution.executor import Executor
from edgehone.execution.job import Input, Job, Limits
from edgehone.execution.run import run
from edgehone.execution.store import JobResult
from edgehone.execution.threads import threads_of
from edgehone.inputs.workload import Workload
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
class ReadyExecutor:
    """A place that jobs run at, the environments that are ready there, and what a job may use."""

    executor: Executor
    environments: Mapping[str, Env]
    limits: Limits


@dataclass(frozen=True)
class RunContext:
    """Model, device, workload, backends with their environments, and whom to tell.

    Builds and scores run in the `workshop`, measurements on the `stand`, which is the device; most often both are
    this machine.
    """

    model: ModelInfo
    source: Input  # the original's folder and digest
    build_executor: ReadyExecutor
    target_executor: ReadyExecutor
    workload: Workload
    depth: Depth
    backends: Mapping[str, Backend]
    origin: ReferenceBackend  # runs the original itself
    emit: Emit
    texts: Mapping[str, Input] = field(default_factory=dict)  # evaluation, calibration, perhaps task
    metric: str | None = None  # what a graph is judged by, where the user named it
    pixels: Mapping[str, Any] = field(default_factory=dict)  # how images become numbers: scale, mean, std
    target: Target | None = None  # what figures are predicted for; None: they are read
    proving: bool = False  # whether what another machine read of quality is read again on the device
    occasion: str = ""  # measurements of another occasion are not taken from the store

    @property
    def device(self) -> Device:
        """What the model is honed for."""
        return self.target_executor.executor.device

    @property
    def environments(self) -> Mapping[str, Env]:
        """What ran on the device."""
        return self.target_executor.environments

    @property
    def target_is_remote(self) -> bool:
        """Whether the device is another machine than the one that builds and scores."""
        return self.target_executor.executor is not self.build_executor.executor

    @property
    def on_target(self) -> RunContext:
        """The same bench with everything run on the device."""
        return replace(self, build_executor=self.target_executor, proving=True)

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
        exclusive = more.get("exclusive", False)
        site = self.target_executor if exclusive else self.build_executor
        also = dict(more.pop("also", {}))
        if self.occasion and exclusive:
            also["occasion"] = self.occasion
        if site is self.target_executor and (site.executor.name or self.proving):
            # What one machine read is its own, however like it another one is.
            also |= {"at": site.executor.name or "here", "device": self.device.fingerprint}
        job = Job(
            call,
            site.environments[backend],
            {**args, "backend": module} if opens else args,
            inputs,
            threads=threads_of(args.get("settings", {}), site.executor.device),
            backend=module if opens else None,
            limits=replace(site.limits, silent=silent),
            also=also,
            **more,
        )
        return run(job, tell, site.executor.execute)

    def tell(self, recipe: Recipe, state: State, detail: str = "") -> Callable[[float, str], None]:
        """Announce a recipe's new state; returns the function that reports its progress."""
        self.emit(Event(recipe.key, state, detail))
        return partial(self._progress, recipe.key, state)

    def _progress(self, key: str, state: State, fraction: float, what: str) -> None:
        self.emit(Event(key, state, what, fraction))


# The least of each count: fewer give no interval at all.
_LEAST = {"windows": 4, "window": 8, "samples": 8, "rounds": 2}


def depth(effort: Effort, config: Mapping[str, Any] | None = None) -> Depth:
    """The depth that data/efforts.toml gives an effort, with [efforts.NAME] of edgehone.toml over it.

    Raises InputError for an unknown effort or key there, and for a value that can't be.
    """
    table = tomllib.loads(files("edgehone").joinpath("data/efforts.toml").read_text("utf-8"))
    own = (config or {}).get("efforts", {})
    for where, given in (("efforts", own), *(own.items() if isinstance(own, Mapping) else ())):
        if not isinstance(given, Mapping):
            raise InputError(
                f"[{where}] in edgehone.toml is {given!r}, not a table", hint="write [efforts.quick]"
            )
    if unknown := sorted(set(own) - set(table)):
        raise InputError(f"no effort is called {unknown[0]!r}", hint=f"one of {', '.join(table)}")
    for key, value in own.get(effort, {}).items():
        if key not in table[effort]:
            raise InputError(
                f"unknown key {key!r} in [efforts.{effort}]", hint=f"one of {', '.join(table[effort])}"
            )
        kinds = int if key in _LEAST else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not value >= _LEAST.get(key, 0):
            raise InputError(
                f"[efforts.{effort}]: {key} is {value!r}",
                hint=f"a {'whole ' if key in _LEAST else ''}number of {_LEAST.get(key, 0)} or more",
            )
    return Depth(**{**table[effort], **own.get(effort, {})})
