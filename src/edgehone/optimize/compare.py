"""Compare bundles and artifacts: same original, texts, windows and interleaved rounds, measured now on this machine.

read entries → score the original → import and score artifacts → measure in rounds → comparison. The steps are those of
`optimize`, without gates and without writing a bundle.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgehone import bundle
from edgehone.backends import registry
from edgehone.backends.base import Effort, Recipe
from edgehone.bundle.schema import MANIFEST
from edgehone.core import config
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError, ModelError
from edgehone.core.events import Emit, Event, silent
from edgehone.decision.comparison import Comparison
from edgehone.decision.decide import derive
from edgehone.execution.store import JobResult
from edgehone.model.inspect import inspect
from edgehone.optimize.context import RunContext
from edgehone.optimize.context_setup import set_up_context
from edgehone.optimize.evaluate import measure, parity
from edgehone.optimize.evaluate.evaluators import score_original
from edgehone.optimize.executors import Executors
from edgehone.optimize.import_artifact import import_artifact
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial


@dataclass(frozen=True)
class Entry:
    """One bundle or artifact in a comparison.

    `what` describes it: its recipe's key, or its backend. `digest` and `model` are the original's digest and path, as
    recorded in its bundle. `axes` and `states` are the values of --axes and --state that it was optimized with.
    """

    recipe: Recipe
    path: Path
    what: str
    digest: str | None = None
    model: Path | None = None
    axes: tuple[str, ...] = ()
    states: tuple[str, ...] = ()


def compare(
    paths: Sequence[str | Path | Entry],
    *,
    model: str | Path | None = None,
    backend: str | None = None,
    settings: Mapping[str, Any] | None = None,
    workload: str | None = None,
    effort: Effort = "normal",
    evaluation: str | Path | None = None,
    config_file: str | Path | None = None,
    emit: Emit = silent,
) -> Comparison:
    """Score and measure bundles, and artifacts that `backend` opens with `settings`, under one protocol.

    Pass `Entry` objects to compare artifacts of several backends. The original is `model`, else the one recorded in the
    bundles. An entry that fails is reported, and the others continue. Raises InputError for an artifact without a
    backend, for bundles of different originals, and for an original that is no longer at its recorded path.
    """
    known = [one for one in paths if isinstance(one, Entry)]
    others = [one for one in paths if not isinstance(one, Entry)]
    entries = [*_entries(others, backend, settings or {}), *known]
    source = _original(entries, model)
    options = OptimizeOptions(
        source,
        workload=workload,
        effort=effort,
        evaluation=evaluation,
        axes=next((one.axes for one in entries if one.axes), ()),
        states=next((one.states for one in entries if one.states), ()),
        config_file=config_file,
        emit=emit,
    )
    backends = registry.load_all(dict.fromkeys(one.recipe.backend for one in entries))
    settings = config.read(config_file)
    ctx, notes, unready = set_up_context(options, settings, backends, backends, executors=Executors.local())
    _require_digests(entries, ctx.source.identity, ctx.model.path)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    ctx = replace(ctx, measurement_group=f"{created} {uuid.uuid4().hex}")

    ctx, original = score_original(ctx)
    trials = _measured(ctx, original, entries, unready)
    emit(Event(""))
    baseline = original.baseline.candidate()
    candidates = [replace(c, figures=derive(c, baseline)) for c in (trial.candidate() for trial in trials)]
    return Comparison(
        model={**ctx.model.to_json(), "digest": ctx.source.identity},
        device=ctx.device.to_json(),
        workload=ctx.workload.to_json(),
        baseline=replace(baseline, figures=derive(baseline, baseline)),
        candidates=tuple(candidates),
        notes=(*notes, *_notes(trials)),
        versions={name: dict(env.versions) for name, env in ctx.environments.items()},
        edgehone=version("edgehone"),
        created=created,
    )


def _measured(
    ctx: RunContext, original: Original, entries: Sequence[Entry], unready: Mapping[str, str]
) -> list[Trial]:
    """Score the original and the entries, and measure them in the same rounds. `unready`: backend → reason."""
    trials = [Trial(one.recipe, facts={"what": one.what, "path": str(one.path)}) for one in entries]
    parity.build_and_score(ctx, original, original.baseline)
    original.require_baseline()
    for trial, one in zip(trials, entries, strict=True):
        if reason := unready.get(one.recipe.backend):
            trial.drop("skipped", f"{one.recipe.backend} has no environment: {reason}")
        else:
            parity.build_and_score(ctx, original, trial, _importing(one.path))
    measure.measure(ctx, original, trials)
    return trials


def _entries(paths: Sequence[str | Path], backend: str | None, settings: Mapping[str, Any]) -> list[Entry]:
    """Read each path as a bundle, else as an artifact of the named backend. Every entry gets a unique key."""
    names = _short_names([Path(path) for path in paths])
    return [_entry(Path(path), name, backend, settings) for path, name in zip(paths, names, strict=True)]


def _entry(path: Path, name: str, backend: str | None, settings: Mapping[str, Any]) -> Entry:
    if not path.exists():
        raise InputError(why_absent(path, f"no such bundle or artifact: {path}"), hint=f"ls {path.parent}")
    if (path / MANIFEST).is_file():
        read = bundle.read(path)
        if problems := bundle.verify(read):
            raise InputError(f"{path} differs from its manifest: {problems[0]}", hint=f"edgehone show {path}")
        recipe = read.manifest.recipe
        return Entry(
            Recipe(recipe["backend"], name, settings=recipe["settings"]),
            read.artifact,
            f"{recipe['backend']}/{recipe['name']}",
            read.manifest.model.get("digest"),
            Path(read.decision.model["path"]) if "path" in read.decision.model else None,
            tuple(read.manifest.axes.get("told", ())),
            tuple(read.manifest.axes.get("told_states", ())),
        )
    if backend is None:
        raise InputError(
            f"{path} is not a bundle (it has no {MANIFEST})",
            hint="for an artifact, name its backend: --backend NAME, and its settings: --settings KEY=VALUE",
        )
    registry.module_name(backend)  # an unknown name fails before anything slow
    return Entry(Recipe(backend, name, settings=dict(settings)), path, backend)


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest path endings that are unique. Their parts are joined by ':', since a key has one slash."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("the same path is given twice", hint="give each bundle once")
    parts = [path.resolve().parts[1:] for path in paths]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = [":".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names


def _original(entries: Sequence[Entry], model: str | Path | None) -> Path:
    """Return the path of the original: the given one, else the first one recorded in a bundle."""
    originals = {one.digest: one for one in entries if one.digest}
    if len(originals) > 1:
        first, second = list(originals.values())[:2]
        raise InputError(
            f"{first.recipe.name} and {second.recipe.name} have different originals "
            f"({str(first.digest)[:12]} and {str(second.digest)[:12]})",
            hint="compare bundles of the same model",
        )
    if model is not None:
        return Path(model)
    models = [one.model for one in entries if one.model]
    if not models:
        raise InputError("no bundle names the original to compare with", hint="give it with --model MODEL")
    try:
        inspect(models[0])
    except ModelError as error:
        raise InputError(
            f"the original is not at its recorded path: {error.message}", hint="give it with --model MODEL"
        ) from error
    return models[0]


def _require_digests(entries: Sequence[Entry], digest: str, model: Path) -> None:
    """Raise InputError if a bundle was optimized from another original than `model`."""
    for one in entries:
        if one.digest not in (None, digest):
            raise InputError(
                f"{one.recipe.name} was optimized from another original than {model} "
                f"(digest {str(one.digest)[:12]}, this is {digest[:12]})",
                hint="give the original with --model MODEL",
            )


def _importing(path: Path) -> Callable[[RunContext, Recipe], JobResult]:
    return partial(import_artifact, path=path)


def _notes(trials: Sequence[Trial]) -> list[str]:
    notes = measure.conditions(trials)
    same: dict[str, list[str]] = {}
    for trial in trials:
        if trial.artifact is not None:
            same.setdefault(f"{trial.artifact.identity} {dict(trial.recipe.settings)}", []).append(
                trial.recipe.name
            )
    return notes + [
        f"{' and '.join(some)} are the same artifact and were measured once"
        for some in same.values()
        if len(some) > 1
    ]
