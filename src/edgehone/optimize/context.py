"""The run context: what every step of a run needs, gathered once and then only read."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from typing import Any, TypedDict, Unpack

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
from edgehone.execution.watch import Watch
from edgehone.inputs.workload import Workload
from edgehone.model.info import ModelInfo
from edgehone.optimize.patience import Patience, unwatched
from edgehone.plan.target import PredictionTarget


class JobFields(TypedDict, total=False):
    """Fields of `Job` that `RunContext.run` hands on."""

    exclusive: bool
    links: bool
    also: Mapping[str, Any]
    watch: Callable[[], Watch]


@dataclass(frozen=True)
class EffortSettings:
    """How much is measured at an effort level. data/efforts.toml holds the values and the reasons."""

    windows: int  # evaluation windows
    window: int  # tokens per evaluation window
    rounds: int  # benchmark rounds per candidate, at most
    seconds: float  # length of a benchmark round
    budget: float  # seconds for all rounds of all candidates
    samples: int  # evaluation samples of a graph
    tuning: float = 0.0  # seconds for searching runtime settings
    patience: float = 0.0  # seconds to wait, in all, for a machine that other programs keep busy
    promise: float = 0.0  # seconds in which a run ends at up to a billion parameters; 0: no promise
    least_windows: int = 0  # evaluation windows of a run that else could not keep its promise


@dataclass(frozen=True)
class ReadyExecutor:
    """An executor with the environments that are ready on it and the limits of its jobs."""

    executor: Executor
    environments: Mapping[str, Env]
    limits: Limits

    @property
    def device(self) -> Device:
        """The machine that the executor runs jobs on."""
        return self.executor.device

    @property
    def name(self) -> str:
        """The executor's name; empty for this machine."""
        return self.executor.name

    @property
    def label(self) -> str:
        """The executor's name for messages."""
        return self.executor.name or "this machine"

    def call(self, function: str) -> Any:
        """Call a function without arguments (`module:function`) on that machine and return its result."""
        return self.executor.call(function)


@dataclass(frozen=True)
class FloatOriginal:
    """The float original of a quantized file: its facts, its files as an input of jobs, and what runs it."""

    model: ModelInfo
    source: Input
    backend: ReferenceBackend


@dataclass(frozen=True)
class RunContext:
    """Model, device, workload, backends with their environments, and the receiver of progress events.

    Builds and quality scores run on `build_executor`, measurements on `target_executor`, which is the device. In most
    runs both are this machine.
    """

    model: ModelInfo
    source: Input  # the original's folder and digest
    build_executor: ReadyExecutor
    target_executor: ReadyExecutor
    workload: Workload
    effort: EffortSettings
    backends: Mapping[str, Backend]
    reference_backend: ReferenceBackend  # runs the original itself
    emit: Emit
    datasets: Mapping[str, Input] = field(
        default_factory=dict
    )  # evaluation, calibration; task and pictures if given
    metric: str | None = None  # for graphs: the metric that the user named
    sweeps_batches: bool = (
        False  # for graphs: True if a gate or target is on the throughput at the best batch size
    )
    samples_needed: int = (
        0  # for graphs: evaluation samples without which the gate on accuracy cannot be passed
    )
    axes: tuple[str, ...] = ()  # for graphs: the axes of inputs and outputs that the user stated
    states: tuple[str, ...] = ()  # for graphs: the pairs OUTPUT=INPUT that were stated or recognized
    alphabet: str | None = None  # for CTC heads: the character of each class but the blank
    task_kind: str | None = None  # for graphs: what the outputs decide, if the user said so
    against: FloatOriginal | None = None  # of a quantized file, if the user named it
    images: Mapping[str, Any] = field(default_factory=dict)  # image to array: `inputs.preprocessing`
    audio: Mapping[str, Any] = field(default_factory=dict)  # sound to array: `inputs.sound`
    prediction_target: PredictionTarget | None = (
        None  # device that figures are predicted for; None: figures are measured
    )
    verifies_on_target: bool = False  # True: quality is scored again on the target executor
    # Stored rounds are reused only within the same epoch: the same day, machine settings and candidates.
    epoch: str = ""
    patience: Patience = field(default_factory=lambda: Patience("measure", 0.0, unwatched))
    measurement_group: str = ""  # stored measurements are reused only within the same group

    @property
    def device(self) -> Device:
        """The device that the model is optimized for."""
        return self.target_executor.device

    @property
    def environments(self) -> Mapping[str, Env]:
        """The environments used for measurements."""
        return self.target_executor.environments

    @property
    def target_is_remote(self) -> bool:
        """Return True if candidates are measured on another executor than the one that builds them."""
        return self.target_executor.executor is not self.build_executor.executor

    @property
    def on_target(self) -> RunContext:
        """A copy in which every job runs on the target executor."""
        return replace(self, build_executor=self.target_executor, verifies_on_target=True)

    def with_original(self, other: FloatOriginal) -> RunContext:
        """Return a copy whose original is the float original."""
        return replace(self, model=other.model, source=other.source, reference_backend=other.backend)

    def run(
        self,
        backend: str,
        call: str,
        args: Mapping[str, Any],
        inputs: Mapping[str, Input],
        *,
        opens_session: bool = False,
        on_progress: Callable[[float, str], None] = lambda fraction, detail: None,
        silent: float | None = None,
        **fields: Unpack[JobFields],
    ) -> JobResult:
        """Run one job in a backend's environment; `fields` are further fields of the job.

        `opens_session` marks jobs that open a session of the backend. `silent` is the number of seconds that may pass
        without progress. An exclusive job runs on the target executor, any other on the build executor. The number of
        threads is the one in the recipe's settings, else all that the machine allows.
        """
        module = registry.module_name(backend)
        exclusive = fields.get("exclusive", False)
        chosen = self.target_executor if exclusive else self.build_executor
        also = dict(fields.get("also", {}))
        if self.measurement_group and exclusive:
            also["measurement_group"] = self.measurement_group
        if chosen is self.target_executor and (chosen.name or self.verifies_on_target):
            # A result read on one machine is not reused for another one, even of the same model.
            also |= {"at": chosen.name or "here", "device": self.device.fingerprint}
        fields["also"] = also
        job = Job(
            call,
            chosen.environments[backend],
            {**args, "backend": module} if opens_session else args,
            inputs,
            threads=threads_of(args.get("settings", {}), chosen.device),
            backend=module if opens_session else None,
            limits=replace(chosen.limits, silent=silent),
            **fields,
        )
        return run(job, on_progress, chosen.executor.execute)

    def announce(self, recipe: Recipe, state: State, detail: str = "") -> Callable[[float, str], None]:
        """Emit a recipe's new state. Returns a callback that reports progress within that state."""
        self.emit(Event(recipe.key, state, detail))
        return partial(self._progress, recipe.key, state)

    def _progress(self, key: str, state: State, fraction: float, detail: str) -> None:
        self.emit(Event(key, state, detail, fraction))


# Smallest allowed counts: with fewer there is no interval.
_MINIMUM = {"windows": 4, "least_windows": 4, "window": 8, "samples": 8, "rounds": 2}


def effort_settings(effort: Effort, config: Mapping[str, Any] | None = None) -> EffortSettings:
    """Return the settings of an effort level: data/efforts.toml, overridden by [efforts.NAME] of edgehone.toml.

    Raises InputError for an unknown effort or key in edgehone.toml, and for an invalid value.
    """
    shipped = tomllib.loads(files("edgehone").joinpath("data/efforts.toml").read_text("utf-8"))
    overrides = (config or {}).get("efforts", {})
    for name, table in (
        ("efforts", overrides),
        *(overrides.items() if isinstance(overrides, Mapping) else ()),
    ):
        if not isinstance(table, Mapping):
            raise InputError(
                f"[{name}] in edgehone.toml is {table!r}, not a table", hint="write [efforts.quick]"
            )
    if unknown := sorted(set(overrides) - set(shipped)):
        raise InputError(f"unknown effort {unknown[0]!r}", hint=f"one of {', '.join(shipped)}")
    for key, value in overrides.get(effort, {}).items():
        if key not in shipped[effort]:
            raise InputError(
                f"unknown key {key!r} in [efforts.{effort}]", hint=f"one of {', '.join(shipped[effort])}"
            )
        types = int if key in _MINIMUM else (int, float)
        if isinstance(value, bool) or not isinstance(value, types) or not value >= _MINIMUM.get(key, 0):
            raise InputError(
                f"[efforts.{effort}]: {key} is {value!r}",
                hint=f"a {'whole ' if key in _MINIMUM else ''}number of {_MINIMUM.get(key, 0)} or more",
            )
    return EffortSettings(**{**shipped[effort], **overrides.get(effort, {})})
