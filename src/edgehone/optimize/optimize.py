"""The whole story: a model, a device and a workload go in; one bundle and the evidence for it come out.

inspect → plan → build → check → measure → tune → decide → bundle
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgehone import bundle
from edgehone.backends.base import Effort
from edgehone.core import config
from edgehone.core.events import Emit, Event, silent
from edgehone.decision import aims
from edgehone.decision.decide import decide
from edgehone.decision.decision import Candidate, Decision
from edgehone.decision.errors import (
    NothingPasses,
)
from edgehone.decision.requirements import Requirements
from edgehone.optimize.evaluate import bottleneck, measure, parity
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.evaluate.verify_on_target import verify_on_target
from edgehone.optimize.executors import Executors, open_executors
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.original import Original
from edgehone.optimize.predict import predict
from edgehone.optimize.search import search
from edgehone.optimize.search.clock import Clock
from edgehone.optimize.search.history import study_of
from edgehone.optimize.setup import Setup, set_up
from edgehone.optimize.trial import Trial
from edgehone.optimize.tune import tune
from edgehone.optimize.write_bundle import write_bundle


def optimize(
    model: str | Path,
    *,
    device: str | None = None,
    workers: str | None = None,
    workload: str | None = None,
    effort: Effort = "normal",
    backends: Sequence[str] | None = None,
    evaluation: str | Path | None = None,
    calibration: str | Path | None = None,
    task: str | Path | None = None,
    metric: str | None = None,
    pictures: str | Path | None = None,
    gates: Sequence[str] = (),
    time: float | None = None,
    minimize: Sequence[str] = (),
    maximize: Sequence[str] = (),
    subject_to: Sequence[str] = (),
    weights: str | None = None,
    out: str | Path | None = None,
    config_file: str | Path | None = None,
    emit: Emit = silent,
) -> Decision:
    """Hone a model for a device and prove it; write the bundle to `out` unless that is None.

    `device` is a name of the catalogue: quality and size are proven on this machine, speed and memory of that device
    are predicted, and labelled so. `ssh://user@host` is measured there; None is this machine, where all is measured.
    `workers` is a Dask scheduler (`tcp://host:8786`): its workers build, and those that are `device` are measured.
    `gates` are `name=value` or `name=off`, `subject_to` constraints as `bytes<=60MB`. `minimize` and `maximize` name
    objectives, or `weights` (`speed=1,quality=8`) weighs them. With `time` (seconds) the recipes are searched, the
    most promising first, and the best proven by then is taken; without, all that the effort names are tried.
    Raises InputError for what can't be used, SetupError for what the machine lacks, and NothingPasses, which carries
    the decision, if no candidate passes every gate.
    """
    request = OptimizeOptions(
        model,
        workload,
        effort,
        tuple(backends) if backends else None,
        evaluation,
        calibration,
        task,
        metric,
        pictures,
        tuple(gates),
        time,
        tuple(minimize),
        tuple(maximize),
        tuple(subject_to),
        weights,
        out,
        config_file,
        device,
        workers,
    )
    settings = config.read(config_file)
    required = aims.load(
        settings,
        gates=gates,
        minimize=minimize,
        maximize=maximize,
        subject_to=subject_to,
        weights=weights,
    )
    clock = Clock(time) if time else None
    if out is not None:
        bundle.check_target(Path(out))
    with open_executors(request, emit) as where:
        return _hone(request, settings, required, clock=clock, where=where, emit=emit)


def _hone(
    request: OptimizeOptions,
    settings: Mapping[str, Any],
    required: Requirements,
    *,
    clock: Clock | None,
    where: Executors,
    emit: Emit,
) -> Decision:
    """The story, once everything that was asked for is read and every machine is reached."""
    setup = set_up(request, settings, where, emit, most_bytes=required.most_bytes)
    trials = [Trial(recipe) for recipe in setup.plan.recipes if recipe.backend not in setup.unready]
    target, notes = setup.ctx.target, [*setup.notes]
    if target:
        required, set_aside = predict.required_of(target, required)
        predict.leave_out(setup.ctx, trials)
        notes += set_aside
    for trial in trials:
        emit(Event(trial.recipe.key, "waiting"))

    evaluator = evaluator_for(setup.ctx.model)
    ctx, prepared = evaluator.prepare(setup.ctx)
    origin = evaluator.reference(ctx, prepared)
    setup, over = replace(setup, ctx=ctx), required.over(ctx.workload.weights)
    kept = study_of(ctx, required, over)
    if clock:
        search.search(ctx, origin, trials, required, weights=over, clock=clock, study=kept)
    else:
        parity.check(ctx, origin, trials, required)
        measure.measure(ctx, origin, trials)
    if target:
        kept.record(*trials)  # what was measured here, not what it is turned into
        notes += predict.predict(ctx, origin, trials)
    else:  # settings that are best here, and what bounds them here, say nothing of another device
        trials += tune.tune(ctx, origin, trials, required, over, clock=clock, study=kept)
        bottleneck.note(ctx, origin, tune.chosen_of(trials, origin, required, over), trials)
    emit(Event("", detail="deciding"))

    named = request.backends or ()
    decision = verify_on_target(
        ctx,
        origin,
        trials,
        lambda: _decide(setup, origin, trials, required, over, notes=notes, named=named),
    )
    if not target:
        kept.record(*trials)
    emit(Event(""))
    if decision.chosen is None:
        raise NothingPasses(decision.reason, decision, hint=_way_out(decision))
    if request.out is not None:
        write_bundle(Path(request.out), decision, ctx, origin, trials, command=request.command())
    return decision


def _decide(
    setup: Setup,
    origin: Original,
    trials: Sequence[Trial],
    required: Requirements,
    weights: Mapping[str, float],
    *,
    notes: Sequence[str],
    named: Sequence[str],
) -> Decision:
    """What is decided by all that is known now; `named` are the backends that the user asked for."""
    ctx = setup.ctx
    return decide(
        [*(trial.candidate() for trial in trials), *_untried(setup)],
        origin.baseline.candidate(),
        required,
        weights,
        device={**ctx.device.to_json(), **({"target": ctx.target.to_json()} if ctx.target else {})},
        model={**ctx.model.to_json(), "digest": ctx.source.identity},
        workload=ctx.workload.to_json(),
        versions={name: dict(env.versions) for name, env in ctx.environments.items()},
        edgehone=version("edgehone"),
        notes=[*notes, *_notes(setup, [origin.baseline, *trials], named)],
        conversions=[trial.conversion for trial in trials if trial.conversion],
    )


def _untried(setup: Setup) -> list[Candidate]:
    """The recipes of backends whose environment could not be made."""
    return [
        Candidate(recipe.key, recipe.backend, recipe.to_json(), "skipped", setup.unready[recipe.backend])
        for recipe in setup.plan.recipes
        if recipe.backend in setup.unready
    ]


def _notes(setup: Setup, trials: Sequence[Trial], named: Sequence[str]) -> list[str]:
    left_out = [
        f"{name} is not in the plan: {reason}"
        for name, reason in setup.plan.refused.items()
        # What runs originals is not expected among the candidates, unless it was asked for.
        if name in named or not setup.ctx.backends[name].REFERENCE
    ]
    uncut = [f"{operation} is not tried: {reason}" for operation, reason in setup.plan.uncut.items()]
    uncut += [f"{where} is not tried: {reason}" for where, reason in setup.plan.unplaced.items()]
    unready = [f"{name} has no environment: {reason}" for name, reason in setup.unready.items()]
    unmeasured = {t.recipe.backend: str(t.facts["unmeasurable"]) for t in trials if "unmeasurable" in t.facts}
    proven = [f"{name} is proven here, not measured: {reason}" for name, reason in unmeasured.items()]
    if setup.ctx.target_is_remote:
        there, built = (
            site.executor.name or "this machine"
            for site in (setup.ctx.target_executor, setup.ctx.build_executor)
        )
        proven.append(
            f"measured on {there}; built and scored on {built}, the chosen one scored on {there} too"
        )
    bounds = [f"{t.recipe.key}: {t.facts['bound']}" for t in trials if bottleneck.is_read(t)]
    return [*left_out, *uncut, *unready, *measure.conditions(trials), *proven, *bounds]


def _way_out(decision: Decision) -> str:
    """The command that goes on from here: more effort, or the nearest candidate's failing gate loosened."""
    failing = [v.gate for c in decision.candidates if c.status == "ok" for v in c.verdicts if not v.ok]
    if not failing:
        return "see each candidate's error above; edgehone backends check"
    return (
        f"loosen or drop a gate (--gate {max(set(failing), key=failing.count)}=off), or try --effort thorough"
    )
