"""Build the run context: check the inputs, hash the model, and install the environments of the backends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgehone.backends import registry
from edgehone.backends.base import Backend, ReferenceBackend
from edgehone.backends.capabilities import require
from edgehone.core.errors import InputError, ModelError, SetupError
from edgehone.core.events import Event
from edgehone.execution.executor import Executor
from edgehone.execution.home import home
from edgehone.execution.job import Input, Limits
from edgehone.inputs import workload
from edgehone.model import digest
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.model.kv_cache import cache_bytes
from edgehone.optimize import media
from edgehone.optimize.adapter import kept_apart
from edgehone.optimize.context import FloatOriginal, ReadyExecutor, RunContext, effort_settings
from edgehone.optimize.environments import ensure_environments
from edgehone.optimize.evaluate import layout, vision
from edgehone.optimize.evaluate.against import checked as checked_float
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.executors import Executors
from edgehone.optimize.fitting import MEMORY_SHARE, at_most, free_memory
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.patience import OTHERS_NOW, Patience, checked


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

    The inputs are checked first. Then the lines of `announced` are emitted, the model is hashed, and the environments
    are installed, which is slow.

    Returns the context, notes for the report, and by backend why an environment could not be installed. Raises
    InputError, ModelError and SetupError as `setup.set_up` does.
    """
    when_busy, names = checked(options.when_busy), tuple(needed)
    info = inspect(options.model)
    evaluator = evaluator_for(info)
    name = options.workload or evaluator.default_workload(info)
    work, note = workload.fit(workload.load(name, config, info.kind), info.context)
    effort = effort_settings(options.effort, config)
    given = evaluator.inputs(options, info)
    images, audio = media.options_of(config, info, given)
    datasets = {**given, **kept_apart(options)}
    check_pictures(info, work)
    check_caches(info, work, free_memory(executors.target.device))
    reference_backend = reference_backend_for(info)
    for line in announced:
        options.emit(Event("", detail=line))
    source = _hashed(info, options)
    against = _against(options, info)
    origins = [reference_backend, *([against.backend] if against else [])]
    wanted = {**{name: backends[name] for name in names}, **{one.NAME: one for one in origins}}
    build_executor, target_executor, unready = _ready_executors(executors, wanted, options)
    _check_ready(unready, [one.NAME for one in origins], names)
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
        audio=audio,
        images=images,
        patience=Patience(when_busy, effort.patience, lambda: target_executor.call(OTHERS_NOW)),
    )
    reasons = {name: error.message for name, error in unready.items()}
    return ctx, (*((note,) if note else ()), *media.notes(info, given)), reasons


def _check_ready(unready: Mapping[str, SetupError], origins: Sequence[str], builders: Sequence[str]) -> None:
    """Raise the error of a backend that runs an original, or of the first that builds if none of them is ready."""
    for name in origins:
        if name in unready:
            raise unready[name]
    if builders and all(name in unready for name in builders):
        raise unready[builders[0]]


def _hashed(model: ModelInfo, options: OptimizeOptions) -> Input:
    """Return a model's files as an input of jobs, with their digest."""
    options.emit(Event("", detail=f"hashing {model.path}"))
    # Resolve the folder alone: the files of a hub's cache are links to blobs, and a blob has no files beside it.
    path = model.folder.resolve() / model.path.relative_to(model.folder)
    return Input(path, digest.digest_model(model, home() / "digests"), model.files)


def _against(options: OptimizeOptions, info: ModelInfo) -> FloatOriginal | None:
    """Return the float original that the user named, checked and hashed."""
    if options.against is None:
        return None
    model = checked_float(options.against, info)
    return FloatOriginal(model, _hashed(model, options), reference_backend_for(model))


def _ready_executors(
    executors: Executors, wanted: Mapping[str, Backend], options: OptimizeOptions
) -> tuple[ReadyExecutor, ReadyExecutor, Mapping[str, SetupError]]:
    """Install the environments on the build and the target executor, and return both.

    The third value has the error of each environment that could not be installed.
    """
    build, unready = _ready(executors.build, wanted, options)
    if executors.target is executors.build:
        return build, build, unready
    ready = {name: backend for name, backend in wanted.items() if name not in unready}
    target, unready_on_target = _ready(executors.target, ready, options)
    return build, target, unready | unready_on_target


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
            f"the workload {work.name!r} has pictures, and {vision.no_pictures(model)}",
            hint=vision.text_alone("give --workload chat", model),
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
