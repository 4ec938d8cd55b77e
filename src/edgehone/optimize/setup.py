"""Set up a run: inspect the model and the device, check every input, plan the recipes, install the environments.

Everything that the user gave is checked before anything slow begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgehone.backends import registry
from edgehone.backends.base import Backend, ReferenceBackend
from edgehone.backends.capabilities import measurement_obstacle, require
from edgehone.core.errors import InputError, ModelError, SetupError
from edgehone.core.events import Event
from edgehone.decision import aims
from edgehone.decision.requirements import Requirements
from edgehone.device.catalogue import platform_row
from edgehone.device.facts import Device
from edgehone.device.inventory import read_inventory
from edgehone.evaluation import statistics
from edgehone.execution.executor import Executor
from edgehone.execution.home import home
from edgehone.execution.job import Input, Limits
from edgehone.inputs import preprocessing, sound, workload
from edgehone.model import digest
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.model.kv_cache import cache_bytes
from edgehone.optimize.context import FloatOriginal, ReadyExecutor, RunContext, effort_settings
from edgehone.optimize.device_visibility import unused_accelerators, visible_devices
from edgehone.optimize.environments import ensure_environments
from edgehone.optimize.evaluate import layout, vision
from edgehone.optimize.evaluate.against import checked as checked_float
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.executors import Executors
from edgehone.optimize.fitting import at_most, fitting_of, free_disk, free_memory
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.patience import OTHERS_NOW, Patience, checked
from edgehone.optimize.predict import predict
from edgehone.optimize.predict.target import known_about, target_of, this_machine
from edgehone.optimize.trial import Trial
from edgehone.plan import building, matrix
from edgehone.plan.devices import with_device_recipes
from edgehone.plan.plan import Plan, plan
from edgehone.plan.recommend import apply_matrix
from edgehone.plan.run_cost import RunLimits
from edgehone.plan.target import PredictionTarget

# The share of the memory free at the start of the run that one job may use; the rest is left to the system.
MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class Setup:
    """A checked run that has not begun: options, run context, plan, requirements, and notes for the report."""

    options: OptimizeOptions
    ctx: RunContext
    plan: Plan
    required: Requirements
    notes: tuple[str, ...]
    unready: Mapping[str, str]  # backend -> why its environment could not be installed

    def trials(self) -> list[Trial]:
        """Return a waiting trial for each planned recipe whose backend is ready, and announce it.

        For a prediction target, recipes that cannot fit the device are skipped.
        """
        trials = [Trial(recipe) for recipe in self.plan.recipes if recipe.backend not in self.unready]
        if self.ctx.prediction_target:
            predict.skip_oversized(self.ctx, trials)
        for trial in trials:
            self.ctx.emit(Event(trial.recipe.key, "waiting"))
        return trials

    def with_context(self, ctx: RunContext) -> Setup:
        """Return a copy with another run context."""
        return replace(self, ctx=ctx)


def requirements(options: OptimizeOptions, config: Mapping[str, Any]) -> Requirements:
    """Return gates and weights: the defaults, edgehone.toml over them, the options over both. Raises InputError."""
    info = inspect(options.model)
    return aims.load(
        config,
        gates=options.gates,
        minimize=options.minimize,
        maximize=options.maximize,
        subject_to=options.subject_to,
        weights=options.weights,
        targets=options.targets,
        kind=info.kind,
        quantized=info.format == "gguf" and info.quantized is not None,
    )


def set_up(
    options: OptimizeOptions, config: Mapping[str, Any], executors: Executors, required: Requirements
) -> Setup:
    """Inspect the model and the device, check the inputs, plan, and install the environments.

    Raises InputError for input that cannot be used, before anything slow begins; ModelError for a model that no
    backend runs; SetupError if the environment of the reference backend cannot be installed.
    """
    info, backends = inspect(options.model), registry.load_all(options.backends)
    # Figures that the target executor can measure need no prediction.
    target = None if executors.target.name else target_of(options.device, config)
    row = target.row if target else platform_row(executors.target.device)
    planned_recipes = _plan(
        options,
        config,
        backends,
        target=target,
        row=row,
        required=required,
        machine=executors.target.device,
    )
    planned_recipes, fitted = _fit(options, config, backends, planned_recipes, executors)
    obstacles = building.obstacles(
        building.resources(info, planned_recipes.recipes),
        at_most(free_memory(executors.build.device), options.memory),
        free_disk(options.disk)["free_disk"],
    )
    # Obstacles are warnings, not errors: much of it may be in the store already.
    announced = (*fitted, *obstacles)
    ctx, notes, unready = set_up_context(
        options, config, backends, planned_recipes.backends, executors=executors, announced=announced
    )
    notes = (*notes, *announced, *options.notes)
    if target is not None:
        required, set_aside = predict.required_of(target, required)
        notes = (*notes, *set_aside)
    elif executors.target is executors.build:
        # Recipes on accelerators are planned only where quality can be checked on the device that is measured.
        planned_recipes, unused = add_device_recipes(planned_recipes, ctx)
        notes = (*notes, *unused)
    swept = any(gate.figure == "throughput_per_s" for gate in (*required.gates, *required.targets))
    ctx = replace(
        ctx, prediction_target=target, samples_needed=_samples_needed(required), sweeps_batches=swept
    )
    return Setup(options, ctx, planned_recipes, required, notes, unready)


def _fit(
    options: OptimizeOptions,
    config: Mapping[str, Any],
    backends: Mapping[str, Backend],
    planned: Plan,
    executors: Executors,
) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan without what does not fit the effort's time, `--memory` and `--disk`, and notes that say so.

    The first note has the predicted time, memory and disk. A search has its own time, and other machines have
    other rates: there nothing is predicted. Raises InputError if nothing fits.
    """
    info, machine = inspect(options.model), executors.build.device
    limits = RunLimits(None, options.memory, options.disk)
    origin = reference_backend_for(info)
    fitting = fitting_of(info, origin, options.effort, effort_settings(options.effort, config), limits)
    if fitting is None or options.time or executors.build.name or executors.build.slots:
        return planned, ()
    known = known_about(machine, this_machine(machine), at_most(free_memory(machine), options.memory))
    name = options.workload or evaluator_for(info).default_workload(info)
    work, _ = workload.fit(workload.load(name, config, info.kind), info.context)
    fitted = fitting.fit(info, backends, planned.recipes, work, known)
    left_out = tuple(f"{key} is not tried: {reason}" for key, reason in fitted.left_out.items())
    if not fitted.expected:
        raise InputError(f"nothing fits: {'; '.join(left_out)}", hint="give more with --memory or --disk")
    recipes = tuple(one.recipe for one in fitted.expected)
    return replace(planned, recipes=recipes), (fitted.cost.sentence(), *left_out)


def _samples_needed(required: Requirements) -> int:
    """Return the number of samples that shows what the gate on accuracy requires if no decision differs."""
    limits = [g.threshold for g in required.gates if g.figure == "accuracy_kept" and g.bound == "low"]
    return statistics.samples_needed(max(limits)) if limits and 0 < max(limits) < 1 else 0


def _plan(
    options: OptimizeOptions,
    config: Mapping[str, Any],
    backends: Mapping[str, Backend],
    *,
    target: PredictionTarget | None,
    row: str,
    required: Requirements,
    machine: Device,
) -> Plan:
    """Return the recipes to try, ordered by the selection matrix; `row` is its row for the device.

    `machine` is the one that candidates are measured on.
    """
    model = inspect(options.model)
    limits = [size for size in (required.most_bytes, target and target.size_budget_bytes) if size]
    # A search within a time chooses among all recipes; the time limits it, not the effort.
    effort = "thorough" if options.time else options.effort
    baseline = reference_backend_for(model).original(model).key
    smallest = min(limits, default=None)
    left_out = {} if target or options.backends else unmeasurable(backends, machine)
    recipes = plan(
        model,
        backends,
        effort,
        baseline=baseline,
        most_bytes=smallest,
        simd=machine.simd,
        left_out=left_out,
    )
    table = matrix.load(config)
    return apply_matrix(recipes, table, row, target.unsupported_backends(table) if target else {}, model)


def unmeasurable(backends: Mapping[str, Backend], machine: Device) -> dict[str, str]:
    """Return the backends that cannot be measured on the machine, with the reasons.

    Their candidates cannot be chosen, and proving their quality may take most of a run, so they are tried only if the
    user names them.
    """
    reasons = {name: measurement_obstacle(backend, machine) for name, backend in backends.items()}
    return {
        name: f"{reason} (--backends {name} builds them and proves their quality here)"
        for name, reason in reasons.items()
        if reason
    }


def add_device_recipes(plan: Plan, ctx: RunContext) -> tuple[Plan, list[str]]:
    """Add recipes for this machine's accelerators. Returns the plan, and a note for each one a runtime cannot use."""
    backends = {name: ctx.backends[name] for name in plan.backends}
    inventory = read_inventory(home())
    visible = visible_devices(
        backends, ctx.device, inventory, lambda name, what: ctx.emit(Event("", detail=f"{name}: {what}"))
    )
    return with_device_recipes(plan, ctx.model, ctx.backends, visible), unused_accelerators(
        visible, inventory
    )


def set_up_context(
    options: OptimizeOptions,
    config: Mapping[str, Any],
    backends: Mapping[str, Backend],
    needed: Iterable[str],
    *,
    executors: Executors,
    announced: Iterable[str] = (),
) -> tuple[RunContext, tuple[str, ...], Mapping[str, str]]:
    """Build the run context with the environments of the `needed` backends.

    Once the inputs are checked, `announced` is told, and the slow part begins.

    Returns it with notes for the report and, by backend, why an environment could not be installed. Raises as `set_up`.
    """
    when_busy = checked(options.when_busy)
    info = inspect(options.model)
    evaluator = evaluator_for(info)
    name = options.workload or evaluator.default_workload(info)
    work, note = workload.fit(workload.load(name, config, info.kind), info.context)
    effort = effort_settings(options.effort, config)
    datasets = evaluator.inputs(options, info)
    check_pictures(info, work)
    check_caches(info, work, free_memory(executors.target.device))
    reference_backend = reference_backend_for(info)
    for line in announced:
        options.emit(Event("", detail=line))
    options.emit(Event("", detail=f"hashing {info.path}"))
    # Resolve the folder alone: the files of a hub's cache are links to blobs, and a blob has no files beside it.
    path = info.folder.resolve() / info.path.relative_to(info.folder)
    source = Input(path, digest.digest_model(info, home() / "digests"), info.files)
    wanted = {**{name: backends[name] for name in needed}, reference_backend.NAME: reference_backend}
    against = _against(options, info)
    if against is not None:
        wanted[against.backend.NAME] = against.backend
    build_executor, unready = _ready(executors.build, wanted, options)
    target_executor = build_executor
    if executors.target is not executors.build:
        ready = {name: backend for name, backend in wanted.items() if name not in unready}
        target_executor, unready_on_target = _ready(executors.target, ready, options)
        unready |= unready_on_target
    for one in (reference_backend, *([against.backend] if against else [])):
        if one.NAME in unready:
            raise unready[one.NAME]
    ctx = RunContext(
        model=info,
        source=source,
        build_executor=build_executor,
        target_executor=target_executor,
        workload=work,
        effort=effort,
        backends=backends,
        reference_backend=reference_backend,
        emit=options.emit,
        datasets=datasets,
        metric=options.metric,
        task_kind=options.task_kind,
        axes=options.axes,
        against=against,
        states=layout.states_of(options, info),
        alphabet=alphabet(config),
        audio=sound.of(config),
        images=preprocessing.of(config, info.folder if info.kind == "graph" else None),
        patience=Patience(when_busy, effort.patience, lambda: target_executor.call(OTHERS_NOW)),
    )
    reasons = {name: error.message for name, error in unready.items()}
    return ctx, (note,) if note else (), reasons


def _against(options: OptimizeOptions, info: ModelInfo) -> FloatOriginal | None:
    """Return the float original that the user named, checked and hashed."""
    if options.against is None:
        return None
    model = checked_float(options.against, info)
    options.emit(Event("", detail=f"hashing {model.path}"))
    path = model.folder.resolve() / model.path.relative_to(model.folder)
    source = Input(path, digest.digest_model(model, home() / "digests"), model.files)
    return FloatOriginal(model, source, reference_backend_for(model))


def _ready(
    executor: Executor, wanted: Mapping[str, Backend], options: OptimizeOptions
) -> tuple[ReadyExecutor, dict[str, SetupError]]:
    """Install the environments on an executor. Returns it ready, and why some could not be installed."""
    where = f" on {executor.name}" if executor.name else ""
    ready, unready = ensure_environments(
        executor,
        wanted,
        lambda name, what: options.emit(Event("", detail=f"environment {name}{where}: {what}")),
    )
    memory = at_most(free_memory(executor.device), None if executor.name else options.memory)
    limits = Limits(bytes=int(memory * MEMORY_SHARE) if memory else None)
    return ReadyExecutor(executor, ready, limits), unready


def check_caches(model: ModelInfo, work: workload.Workload, memory: int | None) -> None:
    """Raise InputError if the KV caches of all concurrent sequences exceed the free memory."""
    tokens = work.prompt_tokens + work.generated_tokens
    one = cache_bytes(model, tokens)
    if not one or memory is None or one * work.sequences <= memory:
        return
    fitting = memory // one
    most = f"at most {fitting} would fit" if fitting else "not even one fits"
    raise InputError(
        f"workload {work.name}: {work.sequences} KV caches of {tokens} tokens are {one * work.sequences / 1e9:.1f} GB "
        f"at 16 bits, and {memory / 1e9:.1f} GB of memory are free: {most}",
        hint=f"lower batch, concurrency or the lengths in [workloads.{work.name}]",
    )


def check_pictures(model: ModelInfo, work: workload.Workload) -> None:
    """Raise InputError if the workload has pictures and the model is not a vision-language model."""
    if work.pictures and model.task != vision.TASK:
        raise InputError(
            f"the workload {work.name!r} has pictures, and {model.architecture} is not a vision-language model",
            hint="give --workload chat",
        )


def reference_backend_for(model: ModelInfo) -> ReferenceBackend:
    """Return the backend that runs the original of this model. Raises ModelError if there is none."""
    reasons = []
    for name in registry.names():
        backend = registry.load(name)
        if backend.REFERENCE:
            support = backend.supports(model)
            if support.ok:
                return require(backend, ReferenceBackend)
            reasons += [f"{name}: {reason}" for reason in support.reasons]
    raise ModelError(
        f"no backend can run the original of {model.path}, so no candidate can be compared with it: "
        f"{'; '.join(reasons)}",
        hint=f"edgehone inspect {model.path}",
    )


def alphabet(config: Mapping[str, Any]) -> str | None:
    """Return `alphabet` of [ctc] of edgehone.toml: one character for each class but the blank. Raises InputError."""
    table = config.get("ctc", {})
    for name, value in table.items():
        if name != "alphabet" or not isinstance(value, str) or not value:
            raise InputError(
                f"[ctc] {name} = {value!r} in edgehone.toml",
                hint="alphabet is a string, one character for each class but the blank, in their order",
            )
    return str(table["alphabet"]) if table else None
