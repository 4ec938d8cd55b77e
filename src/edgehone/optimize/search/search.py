"""Search the recipes of all backends for the best one within a time limit.

Cheap checks come first: the predicted size before a recipe is built, and the first evaluation windows before it is
scored on all. A recipe that fails a check is not built or not measured. A sampler (`plan.sampler`) chooses what to try
next, and a race (`race.py`) which trials to measure further. For a prediction target a forecast (`predict/forecast.py`)
replaces the race. A search runs the same jobs as a whole run, so each finds the finished jobs of the other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from edgehone.backends.capabilities import measurement_obstacle
from edgehone.core.errors import EdgehoneError
from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.decision.decide import derive
from edgehone.decision.decision import Candidate
from edgehone.decision.gates import hopeless, judge
from edgehone.decision.objectives import main_objective, objectives
from edgehone.decision.requirements import Requirements
from edgehone.device import compute
from edgehone.execution.home import home
from edgehone.execution.job import Limits
from edgehone.inputs.workload import OBJECTIVES
from edgehone.optimize.build import build, size_of
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import layers, measure, parity, speed_rounds
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.original import Original
from edgehone.optimize.predict.forecast import Forecast
from edgehone.optimize.predict.target import builds
from edgehone.optimize.search import history
from edgehone.optimize.search.clock import Clock
from edgehone.optimize.search.race import Race
from edgehone.optimize.trial import Trial, guarded
from edgehone.plan import build_time
from edgehone.plan.sampler import Sampler

# Shares of the time by which trying new recipes ends, and the race; the rest is for runtime settings.
TRY_SHARE = 0.75
RACE_SHARE = 0.85
# Smallest ratio of actual to predicted size. Bits per weight omit tensors kept in more bits; no build was ever smaller.
MIN_OF_PREDICTED = 0.9


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
    """Score and measure as many trials as the time allows, the most promising first, and skip the others.

    Raises EdgehoneError if the time is over before any candidate is measured.
    """
    aims = _aims(required, weights)
    ctx.emit(Event("", detail=f"searching {len(trials)} recipes for {clock.seconds:.0f} s"))
    _skip_unmeasurable(ctx, trials, required)
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
    """Take batches from the sampler, score them and add them to the race until the time is over; skip the rest."""
    exact = [trial for trial in trials if trial.alive and trial.recipe.exact]
    waiting = {t.recipe.key: t for t in trials if t.alive and not t.recipe.exact}
    sampler = Sampler([trial.recipe for trial in waiting.values()], len(aims))
    known = [key for key in study.order if key in waiting]
    racing = clock.part(RACE_SHARE)
    trying = racing if ctx.prediction_target else clock.part(TRY_SHARE)
    while batch := [] if trying.over else _batch(sampler, waiting, known, parity.parallel_builds(ctx)):
        _skip_slow_builds(ctx, batch, study.order, trying.left)
        _build_and_score(ctx, original, [trial for trial in batch if trial.alive], required, trying)
        # Exact recipes are slow and rarely chosen, so they are measured together with the first promising ones.
        race.run([*exact, *batch], racing, speed_rounds.MIN_ROUNDS)
        study.record(*exact, *batch)
        baseline, evaluated = race.with_figures(batch)
        for trial in evaluated:
            _report(sampler, trial, baseline, required, aims)
        exact = []
    # If nothing was tried, measure the exact recipes; the original is measured in any case.
    race.run(exact, racing, speed_rounds.MIN_ROUNDS)
    for trial in waiting.values():
        if not trial.artifact and trial.alive:
            _skip(trial, f"not tried: the {clock.seconds:.0f} s were used for other recipes")


def _aims(required: Requirements, weights: Mapping[str, float]) -> list[Mapping[str, float]]:
    """Return one set of weights, or one per objective if the user named several objectives of equal weight."""
    named = [name for name, weight in required.weights.items() if weight > 0]
    alike = len({required.weights[name] for name in named}) == 1 and set(required.weights) >= set(OBJECTIVES)
    if len(named) > 1 and alike:
        return [{name: 1.0} for name in named]
    return [weights]


def _skip_unmeasurable(ctx: RunContext, trials: Sequence[Trial], required: Requirements) -> None:
    """Skip the backends that cannot be measured on this device: their candidates could not be chosen."""
    timed = {
        "requests_per_s",
        "tokens_per_s_total",
        "dropped_frames",
        "speedup",
        "workload_latency_ms",
        "memory_cut",
        "gain",
        "loss",
        "peak_memory_bytes",
        "latency_cv",
    }
    if ctx.prediction_target or not any(gate.figure in timed for gate in required.gates):
        return  # for a prediction target, such candidates can still be predicted
    for trial in trials:
        if reason := measurement_obstacle(ctx.backends[trial.recipe.backend], ctx.device):
            trial.drop("skipped", f"not tried because it could not be chosen: {reason}")


def _batch(sampler: Sampler, waiting: Mapping[str, Trial], known: list[str], count: int) -> list[Trial]:
    """Return the next trials: first those that an earlier run of this search tried, in its order."""
    batch: list[Trial] = []
    while len(batch) < count and not sampler.exhausted:
        recipe = sampler.take(known.pop(0)) if known else sampler.ask()
        if recipe is not None:
            batch.append(waiting[recipe.key])
    return batch


def _build_and_score(
    ctx: RunContext, original: Original, trials: Sequence[Trial], required: Requirements, clock: Clock
) -> None:
    """Build and score several trials in parallel within the time; a trial that fails the prescreen stops there."""
    limits = Limits(max(1.0, clock.left), ctx.build_executor.limits.bytes)
    limited = replace(ctx, build_executor=replace(ctx.build_executor, limits=limits))
    parity.in_parallel(
        limited, trials, lambda ctx, trial: _build_and_score_one(ctx, original, trial, required)
    )
    for trial in trials:
        if trial.status == "failed" and clock.over:
            _skip(trial, "not finished within the time for trying recipes")


def _skip_slow_builds(ctx: RunContext, trials: Sequence[Trial], known: Collection[str], left: float) -> None:
    """Skip builds that would exceed the time left, judged by earlier builds on this machine.

    Builds that this search has tried before (`known`) are not skipped.
    """
    timed = builds(ctx.build_executor.device)
    device = ctx.build_executor.device
    here = build_time.Processors(compute.float_rate(device, home() / "compute"), device.threads)
    for trial in trials:
        if trial.recipe.key in known or not ctx.model.parameters:
            continue
        least = build_time.predict(trial.recipe, ctx.model, here, timed).whole.low
        if least is not None and least > left:
            left = max(0.0, left)
            reason = (
                f"it would take {least:.0f} s or more, judged by earlier builds, and {left:.0f} s are left"
            )
            _skip(trial, f"not built: {reason}")
            ctx.emit(Event(trial.recipe.key, "skipped", reason))


def _build_and_score_one(ctx: RunContext, original: Original, trial: Trial, required: Requirements) -> None:
    if reason := _too_large(ctx, trial, required):
        trial.drop("skipped", reason)
        ctx.emit(Event(trial.recipe.key, "skipped", reason))
        return
    with guarded(ctx, trial):
        artifact = build(ctx, trial.recipe)
        trial.bytes = size_of(artifact)
        layers.fit(ctx, original, trial, artifact)
        early = evaluator_for(ctx.model).prescreen(ctx, original, trial.recipe, artifact)
        figures = {**early, "bytes": Figure(float(trial.bytes), n=1, unit="bytes")}
        if reason := hopeless(figures, required):
            trial.artifact = artifact
            trial.figures.update(early)
            trial.drop("skipped", f"not measured: {reason}")
            ctx.emit(Event(trial.recipe.key, "skipped", reason))
    if trial.alive:
        parity.build_and_score(ctx, original, trial)


def _too_large(ctx: RunContext, trial: Trial, required: Requirements) -> str | None:
    """Return why a recipe cannot meet the size limit, judged by its bits per weight; None if it can."""
    bits, parameters = trial.recipe.bits, ctx.model.parameters
    if not required.most_bytes or not bits or not parameters:
        return None
    least = MIN_OF_PREDICTED * parameters * bits / 8
    if least <= required.most_bytes:
        return None
    limit = f"the limit is {required.most_bytes / 1e6:.1f} MB"
    return f"not built: at {bits:g} bits per weight it has at least {least / 1e6:.1f} MB, and {limit}"


def _report(
    sampler: Sampler,
    trial: Trial,
    baseline: Trial,
    required: Requirements,
    aims: Sequence[Mapping[str, float]],
) -> None:
    """Report a trial's result to the sampler: the loss of each aim, and the margins by which gates are missed."""
    original = baseline.candidate()
    candidate = replace(trial.candidate(), figures=derive(trial.candidate(), original))
    margins = [v.margin for v in judge(candidate.figures, required)]
    missed = [-m if m is not None and math.isfinite(m) else 1.0 for m in margins]
    sampler.tell(trial.recipe.key, losses(candidate, original, aims) if trial.alive else None, missed)


def losses(
    candidate: Candidate, original: Candidate, aims: Sequence[Mapping[str, float]]
) -> list[float] | None:
    """Return the loss of each aim. None if the speed is unknown, or another objective of candidate and original.

    An objective of the candidate that was not measured counts as the original's, similar to the choice
    (`decision.choice`): a sampler that is told nothing would propose nothing more on an accelerator.
    """
    own, floor = objectives(candidate), objectives(original)
    values = []
    for aim in aims:
        logs = {
            name: floor[name] if own[name] is None and name != main_objective(aim) else own[name]
            for name in own
        }
        parts = [(weight, logs[name]) for name, weight in aim.items() if weight]
        known = [weight * log for weight, log in parts if log is not None]
        if len(known) < len(parts):
            return None
        values.append(-sum(known))
    return values


def _skip(trial: Trial, reason: str) -> None:
    """Drop a trial for lack of time."""
    trial.drop("skipped", reason)
    trial.facts["out_of_time"] = True


def _require_one(trials: Sequence[Trial], clock: Clock) -> None:
    measured = any(t.alive and (t.samples.get("rounds") or "unmeasurable" in t.facts) for t in trials)
    # More time helps only those that it was too short for. If none was measured for another reason (disqualified,
    # failed), the decision states what failed.
    unfinished = any(t.alive or "out_of_time" in t.facts for t in trials)
    if measured or not unfinished or not clock.part(TRY_SHARE).over:
        return
    raise EdgehoneError(
        f"--time {clock.seconds:.0f}s is too short to measure one candidate",
        hint="run the same command again to continue from the finished jobs, or give more time",
    )


def _complete(trial: Trial) -> None:
    """Add a missing figure, with the reason, for each that was not measured before the trial ended."""
    reason = trial.facts.get("raced_out") or trial.error
    for name, unit in measure.UNITS.items():
        if name not in trial.figures:
            trial.figures[name] = Figure.missing(reason or "the time was over", unit)
