"""Search: the best within the time given, of the recipes of all backends together.

What costs least is asked first: bytes are known before a recipe is built, and the first windows of the text before all
are read; who fails there is not built, or not measured. A sampler (`plan.sampler`) says what to try next, a race
(`optimize.race`) who still deserves to be measured; for a device that is not here a forecast stands in the race's place
(`optimize.forecast`). The jobs of a search are those of a whole run, so what was done is never done again, by either.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from edgehone.backends.capabilities import measurement_obstacle
from edgehone.core.errors import EdgehoneError
from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.decision.choice import objectives
from edgehone.decision.decide import derive
from edgehone.decision.gates import hopeless, judge
from edgehone.decision.requirements import Requirements
from edgehone.execution.job import Limits
from edgehone.execution.processes import CHILDREN
from edgehone.inputs.workload import OBJECTIVES
from edgehone.optimize.build import build, size_of
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import measure, parity
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.original import Original
from edgehone.optimize.predict.forecast import Forecast
from edgehone.optimize.predict.target import builds
from edgehone.optimize.search import history
from edgehone.optimize.search.clock import Clock
from edgehone.optimize.search.race import Race
from edgehone.optimize.trial import Trial, guarded
from edgehone.plan import building
from edgehone.plan.sampler import Sampler

# Recipes are tried until so much of the time is gone, and raced until so much is; the rest is for runtime settings.
TRY_SHARE = 0.75
RACE_SHARE = 0.85
# Bits a weight leave out what is kept in more bits; below this share of what they predict nothing was seen to come.
LEAST_OF_PREDICTED = 0.9


def search(
    ctx: RunContext,
    original: Original,
    trials: Sequence[Trial],
    required: Requirements,
    *,
    weights: Mapping[str, float],
    clock: Clock,
    study: history.Study,
) -> None:
    """Prove and measure as many trials as the time allows, the most promising first; the others are skipped.

    Raises EdgehoneError when the time is over before one candidate is measured.
    """
    aims = _aims(required, weights)
    ctx.emit(Event("", detail=f"searching {len(trials)} recipes for {clock.seconds:.0f} s"))
    _leave_out(ctx, trials, required)
    parity.check_exact(ctx, original, trials, required)
    race = Forecast(ctx, original) if ctx.prediction_target else Race(ctx, original, required, aims)
    _try(ctx, original, trials, required, aims, race=race, clock=clock, study=study)
    racing = clock.part(RACE_SHARE)
    while not (racing.over or race.settled):
        race.run((), racing, 1)
    _require_one(trials, clock)
    for trial in [original.baseline, *race.running]:
        measure.finish(ctx, original, trial)
    for trial in trials:
        _complete(trial)
    study.record(*trials)


def _try(
    ctx: RunContext,
    original: Original,
    trials: Sequence[Trial],
    required: Requirements,
    aims: Sequence[Mapping[str, float]],
    *,
    race: Race | Forecast,
    clock: Clock,
    study: history.Study,
) -> None:
    """Batch after batch is asked for, proven, and enters the race, until its time is over; the rest is skipped."""
    exact = [trial for trial in trials if trial.alive and trial.recipe.exact]
    waiting = {t.recipe.key: t for t in trials if t.alive and not t.recipe.exact}
    sampler = Sampler([trial.recipe for trial in waiting.values()], len(aims))
    known = [key for key in study.order if key in waiting]
    racing = clock.part(RACE_SHARE)
    trying = racing if ctx.prediction_target else clock.part(TRY_SHARE)
    while batch := [] if trying.over else _batch(sampler, waiting, known, parity.side_by_side(ctx)):
        _leave_late(ctx, batch, study.order, trying.left)
        _prove(ctx, original, [trial for trial in batch if trial.alive], required, trying)
        # The exact ones, slow and seldom chosen, do not run before the first that is likely to win.
        race.run([*exact, *batch], racing, measure.MIN_ROUNDS)
        study.record(*exact, *batch)
        baseline, seen = race.seen(batch)
        for trial in seen:
            _tell(sampler, trial, baseline, required, aims)
        exact = []
    # Where nothing was tried: the exact ones, and the original in any case.
    race.run(exact, racing, measure.MIN_ROUNDS)
    for trial in waiting.values():
        if not trial.artifact and trial.alive:
            trial.drop("skipped", f"not tried: the {clock.seconds:.0f} s were used for others")


def _aims(required: Requirements, weights: Mapping[str, float]) -> list[Mapping[str, float]]:
    """One score, or several objectives where the user named several that weigh alike."""
    named = [name for name, weight in required.weights.items() if weight > 0]
    alike = len({required.weights[name] for name in named}) == 1 and set(required.weights) >= set(OBJECTIVES)
    if len(named) > 1 and alike:
        return [{name: 1.0} for name in named]
    return [weights]


def _leave_out(ctx: RunContext, trials: Sequence[Trial], required: Requirements) -> None:
    """Skip the backends that cannot be measured here: with time short, what cannot be chosen is not built."""
    timed = {
        "requests_per_s",
        "tokens_per_s_total",
        "dropped_frames",
        "speedup",
        "workload_latency_ms",
        "memory_cut",
        "peak_memory_bytes",
        "latency_cv",
    }
    if ctx.prediction_target or not any(gate.figure in timed for gate in required.gates):
        return  # what cannot be measured here may still be predicted for another device
    for trial in trials:
        if reason := measurement_obstacle(ctx.backends[trial.recipe.backend], ctx.device):
            trial.drop("skipped", f"not tried, since it could not be chosen: {reason}")


def _batch(sampler: Sampler, waiting: Mapping[str, Trial], known: list[str], count: int) -> list[Trial]:
    """The next to try: first what an earlier run of this search tried, in its order."""
    batch: list[Trial] = []
    while len(batch) < count and not sampler.exhausted:
        recipe = sampler.take(known.pop(0)) if known else sampler.ask()
        if recipe is not None:
            batch.append(waiting[recipe.key])
    return batch


def _prove(
    ctx: RunContext, original: Original, trials: Sequence[Trial], required: Requirements, clock: Clock
) -> None:
    """Build and prove several side by side, within the time; who fails early is not taken further."""
    limits = Limits(max(1.0, clock.left), ctx.build_executor.limits.bytes)
    limited = replace(ctx, build_executor=replace(ctx.build_executor, limits=limits))
    with CHILDREN.pool(parity.side_by_side(ctx)) as pool:
        list(pool.map(lambda trial: _prove_one(limited, original, trial, required), trials))
    for trial in trials:
        if trial.status == "failed" and clock.over:
            trial.drop("skipped", "not finished when its part of the time was over")


def _leave_late(ctx: RunContext, trials: Sequence[Trial], known: Collection[str], left: float) -> None:
    """Skip what would not be built in time by what builds took here; what this search tried before is `known`."""
    timed = builds(ctx.build_executor.device)
    for trial in trials:
        if trial.recipe.key in known or not ctx.model.parameters:
            continue
        least = building.seconds(trial.recipe, ctx.model.parameters, timed).low
        if least is not None and least > left:
            took = f"it would take {least:.0f} s or more by what was timed here, and {max(0.0, left):.0f} s are left"
            trial.drop("skipped", f"not built: {took}")
            ctx.emit(Event(trial.recipe.key, "skipped", took))


def _prove_one(ctx: RunContext, original: Original, trial: Trial, required: Requirements) -> None:
    if reason := _too_large(ctx, trial, required):
        trial.drop("skipped", reason)
        ctx.emit(Event(trial.recipe.key, "skipped", reason))
        return
    with guarded(ctx, trial):
        artifact = build(ctx, trial.recipe)
        trial.bytes = size_of(artifact)
        early = evaluator_for(ctx.model).prescreen(ctx, original, trial.recipe, artifact)
        found = {**early, "bytes": Figure(float(trial.bytes), n=1, unit="bytes")}
        if reason := hopeless(found, required):
            trial.artifact = artifact
            trial.figures.update(early)
            trial.drop("skipped", f"not measured: {reason}")
            ctx.emit(Event(trial.recipe.key, "skipped", reason))
    if trial.alive:
        parity.build_and_score(ctx, original, trial)


def _too_large(ctx: RunContext, trial: Trial, required: Requirements) -> str | None:
    """Why it need not be built: by its bits a weight it cannot be as small as is asked."""
    bits, parameters = trial.recipe.bits, ctx.model.parameters
    if not required.most_bytes or not bits or not parameters:
        return None
    least = LEAST_OF_PREDICTED * parameters * bits / 8
    if least <= required.most_bytes:
        return None
    asked = f"{required.most_bytes / 1e6:.1f} MB are asked for"
    return f"not built: at {bits:g} bits a weight at least {least / 1e6:.1f} MB, {asked}"


def _tell(
    sampler: Sampler,
    trial: Trial,
    baseline: Trial,
    required: Requirements,
    aims: Sequence[Mapping[str, float]],
) -> None:
    """Tell the sampler what became of a trial: each aim's loss, and by how much gates are missed."""
    candidate = replace(trial.candidate(), figures=derive(trial.candidate(), baseline.candidate()))
    logs = objectives(candidate)
    values = [
        -sum(weight * log for name, weight in aim.items() if weight and (log := logs[name]) is not None)
        for aim in aims
    ]
    complete = all(logs[name] is not None for aim in aims for name, weight in aim.items() if weight)
    margins = [v.margin for v in judge(candidate.figures, required)]
    missed = [-m if m is not None and math.isfinite(m) else 1.0 for m in margins]
    sampler.tell(trial.recipe.key, values if trial.alive and complete else None, missed)


def _require_one(trials: Sequence[Trial], clock: Clock) -> None:
    measured = any(t.alive and (t.samples.get("rounds") or "unmeasurable" in t.facts) for t in trials)
    # Where none is for another reason, the decision tells what failed, and which limit none keeps.
    if measured or not clock.part(TRY_SHARE).over:
        return
    raise EdgehoneError(
        f"--time {clock.seconds:.0f}s is too short for one candidate",
        hint="what was done is kept: run the same again to go on, or give more time",
    )


def _complete(trial: Trial) -> None:
    """Every figure of a trial that left before all was read, with the reason."""
    reason = trial.facts.get("raced_out") or trial.error
    for name, unit in measure.UNITS.items():
        if name not in trial.figures:
            trial.figures[name] = Figure.missing(reason or "the time was over", unit)
