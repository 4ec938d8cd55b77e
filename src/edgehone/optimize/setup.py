"""Set up a run: inspect the model and the device, plan the recipes, and build the run context.

Everything that the user gave is checked before anything slow begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgehone.backends import registry
from edgehone.backends.base import Backend
from edgehone.backends.capabilities import measurement_obstacle
from edgehone.core.errors import InputError
from edgehone.core.events import Event
from edgehone.decision import aims
from edgehone.decision.requirements import Requirements
from edgehone.device.catalogue import platform_row
from edgehone.device.facts import Device
from edgehone.device.inventory import read_inventory
from edgehone.evaluation import statistics
from edgehone.execution.home import home
from edgehone.execution.store import JobResult
from edgehone.inputs import workload
from edgehone.model.inspect import inspect
from edgehone.optimize.context import RunContext, effort_settings
from edgehone.optimize.context_setup import reference_backend_for, set_up_context
from edgehone.optimize.device_visibility import unused_accelerators, visible_devices
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.executors import Executors
from edgehone.optimize.fitting import at_most, fitting_of, free_disk, free_memory, memory_limit, with_tokens
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.predict import predict
from edgehone.optimize.predict.target import known_about, target_of, this_machine
from edgehone.optimize.trial import Trial
from edgehone.plan import building, matrix
from edgehone.plan.devices import with_device_recipes
from edgehone.plan.plan import Plan, plan
from edgehone.plan.recommend import apply_matrix
from edgehone.plan.run_cost import RunCost, RunLimits, minutes
from edgehone.plan.target import PredictionTarget


@dataclass(frozen=True)
class Setup:
    """A checked run that has not begun: options, run context, plan, requirements, and notes for the report."""

    options: OptimizeOptions
    ctx: RunContext
    plan: Plan
    required: Requirements
    notes: tuple[str, ...]
    unready: Mapping[str, str]  # backend -> why its environment could not be installed
    cost: RunCost | None = None  # of the whole run, where it is predicted

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

    def predicted_again(self, reference: JobResult) -> str | None:
        """Return the time of the whole run as predicted from that of the reference; None if neither tells anything."""
        if self.cost is None or reference.cached:
            return None
        again = self.cost.after_reference(reference.seconds).seconds
        if again.value is None:
            return None
        return f"the original was scored in {reference.seconds:.0f} s; predicted in all: {minutes(again)}"


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
    planned_recipes, cost, fitted, tokens = _fit(options, config, backends, planned_recipes, executors)
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
    if tokens is not None:
        ctx = replace(ctx, effort=with_tokens(ctx.effort, tokens))
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
    return Setup(options, ctx, planned_recipes, required, notes, unready, cost)


def _fit(
    options: OptimizeOptions,
    config: Mapping[str, Any],
    backends: Mapping[str, Backend],
    planned: Plan,
    executors: Executors,
) -> tuple[Plan, RunCost | None, tuple[str, ...], int | None]:
    """Return the plan without what does not fit the effort's time, `--memory` and `--disk`, its cost, and notes.

    The last value are the tokens of evaluation text, if they are fewer than the effort's so that its time is kept. The
    first note has the predicted time, memory and disk. A search has its own time, and other machines have
    other rates: there nothing is predicted. Raises InputError if nothing fits.
    """
    info, machine = inspect(options.model), executors.build.device
    limits = RunLimits(None, memory_limit(machine, options.memory), options.disk)
    origin = reference_backend_for(info)
    fitting = fitting_of(info, origin, options.effort, effort_settings(options.effort, config), limits)
    if fitting is None or options.time or executors.build.name or executors.build.slots:
        return planned, None, (), None
    known = known_about(machine, this_machine(machine), at_most(free_memory(machine), options.memory))
    name = options.workload or evaluator_for(info).default_workload(info)
    work, _ = workload.fit(workload.load(name, config, info.kind), info.context)
    fitted = fitting.fit(info, backends, planned.recipes, work, known)
    left_out = tuple(f"{key} is not tried: {reason}" for key, reason in fitted.left_out.items())
    if not fitted.expected:
        raise InputError(f"nothing fits: {'; '.join(left_out)}", hint="give more with --memory or --disk")
    recipes = tuple(one.recipe for one in fitted.expected)
    notes = (fitted.cost.sentence(), *left_out)
    if fitted.tokens is not None:
        fewer = f"{fitted.tokens:,} tokens of evaluation text are scored, not {fitting.measuring.tokens:,}"
        notes = (*notes, f"{fewer}, so that --effort {options.effort} keeps its time; intervals are wider")
    return replace(planned, recipes=recipes), fitted.cost, notes, fitted.tokens


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
    limits = [size for size in (required.least_limit_bytes, target and target.size_budget_bytes) if size]
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
        keep_adapter=options.keep_adapter,
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
