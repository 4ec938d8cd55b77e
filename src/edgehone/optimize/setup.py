"""Setup: from what the user gave to a bench, with every input checked before anything slow begins."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgehone.backends import registry
from edgehone.backends.base import Backend, ReferenceBackend
from edgehone.backends.capabilities import require
from edgehone.core.errors import InputError, ModelError, SetupError
from edgehone.core.events import Emit, Event
from edgehone.device.catalogue import platform_row
from edgehone.device.facts import Device
from edgehone.device.inventory import read_inventory
from edgehone.execution.executor import Executor
from edgehone.execution.home import home
from edgehone.execution.job import Input, Limits
from edgehone.inputs import workload
from edgehone.model import digest
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.optimize.context import ReadyExecutor, RunContext, depth
from edgehone.optimize.device_visibility import blind_spots, see
from edgehone.optimize.environments import make_all
from edgehone.optimize.evaluate import vision
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.executors import Executors
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.predict.target import target_of
from edgehone.plan import building, matrix, roofline
from edgehone.plan.devices import on_devices
from edgehone.plan.plan import Plan, plan
from edgehone.plan.recommend import planned

# What a job may hold of the memory that is free when the run starts; the rest is the system's.
MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class Setup:
    """A checked run that has not begun: the bench, the plan, and notes for the report."""

    ctx: RunContext
    plan: Plan
    notes: tuple[str, ...]
    unready: Mapping[str, str]  # backend -> why its environment could not be made


def set_up(
    request: OptimizeOptions,
    config: Mapping[str, Any],
    executors: Executors,
    emit: Emit,
    *,
    most_bytes: int | None = None,
) -> Setup:
    """Inspect the model and the device, check the texts, plan, and make the environments.

    `most_bytes` is what an artifact may weigh. Raises InputError for anything the user gave that can't be used, before
    anything slow begins.
    """
    info = inspect(request.model)
    # What is measured, here or there, needs no prediction.
    target = None if executors.target.name else target_of(request.device, config)
    asked = registry.load_all(request.backends)
    limits = [size for size in (most_bytes, target and target.size_budget_bytes) if size]
    # A search chooses among all recipes; the time cuts the list, not the effort.
    effort = "thorough" if request.time else request.effort
    original = origin_of(info).original(info).key
    made = plan(info, asked, effort, baseline=original, most_bytes=min(limits, default=None))
    table = matrix.load(config)
    row = target.row if target else platform_row(executors.target.device)
    made = planned(made, table, row, target.cannot(table) if target else {}, info)
    tight = building.obstacles(
        building.need(info, made.recipes),
        free_memory(executors.build.device),
        shutil.disk_usage(home()).free,
    )
    for obstacle in tight:  # told, not refused: much of it may have been built before
        emit(Event("", detail=obstacle))
    ctx, notes, unready = set_up_context(
        request, config, asked, made.backends, executors=executors, emit=emit
    )
    notes = (*notes, *tight)
    # What cannot be proven where it is measured is not tried there.
    if target is None and executors.target is executors.build:
        made, blind = placed(made, ctx)
        notes = (*notes, *blind)
    return Setup(replace(ctx, target=target), made, notes, unready)


def placed(made: Plan, ctx: RunContext) -> tuple[Plan, list[str]]:
    """The plan with what can run on this machine's accelerators; and a note of each that a runtime can't use."""
    asked = {name: ctx.backends[name] for name in made.backends}
    around = read_inventory(home())
    seen = see(asked, ctx.device, around, lambda name, what: ctx.emit(Event("", detail=f"{name}: {what}")))
    return on_devices(made, ctx.model, ctx.backends, seen), blind_spots(seen, around)


def set_up_context(
    request: OptimizeOptions,
    config: Mapping[str, Any],
    asked: Mapping[str, Backend],
    needed: Iterable[str],
    *,
    executors: Executors,
    emit: Emit,
) -> tuple[RunContext, tuple[str, ...], Mapping[str, str]]:
    """The bench with the environments of the `needed` backends; notes, and why some could not be made.

    Raises as `set_up` does.
    """
    info = inspect(request.model)
    evaluator = evaluator_for(info)
    name = request.workload or evaluator.default_workload(info)
    work, note = workload.fit(workload.load(name, config, info.kind), info.context)
    deep = depth(request.effort, config)
    given = evaluator.inputs(request, info)
    check_pictures(info, work)
    check_caches(info, work, free_memory(executors.target.device))
    origin = origin_of(info)
    emit(Event("", detail=f"hashing {info.path}"))
    # The folder alone is resolved: a hub's cache links each file to a blob, and a blob has no files beside it.
    place = info.folder.resolve() / info.path.relative_to(info.folder)
    source = Input(place, digest.digest_model(info, home() / "digests"), info.files)
    wanted = {**{name: asked[name] for name in needed}, origin.NAME: origin}
    build_executor, unready = _site(executors.build, wanted, emit)
    target_executor = build_executor
    if executors.target is not executors.build:
        ready = {name: backend for name, backend in wanted.items() if name not in unready}
        target_executor, lacking = _site(executors.target, ready, emit)
        unready |= lacking
    if origin.NAME in unready:
        raise unready[origin.NAME]
    ctx = RunContext(
        model=info,
        source=source,
        build_executor=build_executor,
        target_executor=target_executor,
        workload=work,
        depth=deep,
        backends=asked,
        origin=origin,
        emit=emit,
        texts=given,
        metric=request.metric,
        pixels=pixels(config),
    )
    reasons = {name: error.message for name, error in unready.items()}
    return ctx, (note,) if note else (), reasons


def _site(
    place: Executor, wanted: Mapping[str, Backend], emit: Emit
) -> tuple[ReadyExecutor, dict[str, SetupError]]:
    """A place with the environments that are ready there, and why the others could not be made."""
    where = f" on {place.name}" if place.name else ""
    ready, unready = make_all(
        place, wanted, lambda name, what: emit(Event("", detail=f"environment {name}{where}: {what}"))
    )
    memory = free_memory(place.device)
    return ReadyExecutor(place, ready, Limits(bytes=int(memory * MEMORY_SHARE) if memory else None)), unready


def free_memory(machine: Device) -> int | None:
    """Bytes that are free now, within the control group's limit; None where the machine does not say."""
    known = (machine.memory_available_bytes, machine.memory_limit_bytes)
    return min((size for size in known if size is not None), default=None)


def check_caches(model: ModelInfo, work: workload.Workload, memory: int | None) -> None:
    """Raise InputError where the KV caches of all sequences that are under way at once exceed the free memory."""
    tokens = work.prompt_tokens + work.generated_tokens
    one = roofline.cache_bytes(model, tokens)
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
    """Raise InputError where a workload shows pictures to a model that sees none."""
    if work.pictures and model.task != vision.TASK:
        raise InputError(
            f"the workload {work.name!r} shows pictures, and {model.architecture} sees none",
            hint="give --workload chat",
        )


def origin_of(model: ModelInfo) -> ReferenceBackend:
    """The backend that runs the original of this model."""
    reasons = []
    for name in registry.names():
        backend = registry.load(name)
        if backend.REFERENCE:
            support = backend.supports(model)
            if support.ok:
                return require(backend, ReferenceBackend)
            reasons += [f"{name}: {reason}" for reason in support.reasons]
    raise ModelError(
        f"nothing can run the original of {model.path}, so nothing can be proven against it: {'; '.join(reasons)}",
        hint=f"edgehone inspect {model.path}",
    )


def pixels(config: Mapping[str, Any]) -> dict[str, Any]:
    """The table [images] of edgehone.toml: scale, mean, std (a number, or one a channel). InputError otherwise."""
    table = config.get("images", {})
    for name, value in table.items():
        numbers = value if isinstance(value, list) else [value]
        right = all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers)
        if name not in ("scale", "mean", "std") or not right or (name == "std" and 0 in numbers):
            raise InputError(
                f"[images] {name} = {value!r} in edgehone.toml",
                hint="scale, mean and std are numbers (mean and std may be a list, one a channel)",
            )
    return dict(table)
