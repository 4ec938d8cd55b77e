"""Build each recipe and score it against the original, several in parallel.

The parity check comes first: a backend whose unquantized build differs from the original is disqualified for this
model, and none of its other recipes is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from edgehone.backends.base import Recipe
from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.decision.decision import CONVERSION_FIGURES, NOT_COMPARED, Conversion
from edgehone.decision.requirements import Requirements
from edgehone.evaluation.tokens import TokenComparison
from edgehone.execution.job import Input
from edgehone.execution.processes import CHILDREN
from edgehone.execution.store import JobResult
from edgehone.optimize.build import build, operate, seconds, size_of, size_of_model
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import (
    chat_tasks,
    generated,
    layers,
    long_context,
    routing,
    same_tokens,
    vision,
)
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial, guarded
from edgehone.plan import building


def check(ctx: RunContext, original: Original, trials: Sequence[Trial], requirements: Requirements) -> None:
    """Build the baseline and every trial, check parity, and set sizes and quality figures."""
    ctx.emit(Event("", detail=f"building {len(trials)} candidates and comparing each with the original"))
    check_exact(ctx, original, trials, requirements)
    rest = [trial for trial in trials if trial.alive and not trial.recipe.exact]
    score_all(ctx, original, rest)


def check_exact(
    ctx: RunContext, original: Original, trials: Sequence[Trial], requirements: Requirements
) -> None:
    """Score the baseline and the exact recipe of each backend and device; disqualify those that fail the check."""
    exact = [trial for trial in trials if trial.alive and trial.recipe.exact]
    score_all(ctx, original, [original.baseline, *exact])
    original.require_baseline()
    for trial in exact:
        parity_check(ctx, original, trial, trials, requirements)


def score_all(ctx: RunContext, original: Original, trials: Sequence[Trial]) -> None:
    """Build and score several trials in parallel."""
    in_parallel(ctx, trials, lambda ctx, trial: build_and_score(ctx, original, trial))


def build_and_score(
    ctx: RunContext, original: Original, trial: Trial, make: Callable[[RunContext, Recipe], JobResult] = build
) -> None:
    """Set a trial's artifact (returned by `make`), size and quality figures."""
    recipe = trial.recipe
    with guarded(ctx, trial):
        trial.artifact = make(ctx, recipe)
        trial.bytes = size_of_model(ctx.model) if trial is original.baseline else size_of(trial.artifact)
        trial.facts.update(trial.artifact.facts)
        trial.facts["artifact_key"] = trial.artifact.key  # where the store has it
        if make is build:
            trial.facts["build_seconds"] = round(seconds(ctx, recipe), 3)
        if recipe.surgery:
            trial.facts["surgery"] = dict(operate(ctx, recipe).facts)
        layers.fit(ctx, original, trial, trial.artifact)
        recipe = trial.recipe
        evaluator = evaluator_for(ctx.model)
        trial.score = evaluator.score(ctx, original, recipe, Input.of(trial.artifact))
        evaluator.fill_quality(original, trial, trial.score)
        routing.compare(ctx, original, trial)
        vision.compare(ctx, original, trial)
        same_tokens.prove(ctx, original, trial)
        generated.compare(ctx, original, trial)
        chat_tasks.compare(ctx, original, trial)
        long_context.compare(ctx, original, trial)
        if trial.status == "ok":
            ctx.emit(Event(recipe.key, "waiting", f"{trial.bytes / 1e6:.1f} MB, {evaluator.summary(trial)}"))
        else:
            ctx.emit(Event(recipe.key, trial.status, str(trial.error)))


def parity_check(
    ctx: RunContext, original: Original, exact: Trial, trials: Iterable[Trial], requirements: Requirements
) -> None:
    """Check a backend on a device by its exact recipe; if it fails, disqualify the backend's recipes on that device."""
    where = exact.recipe.runs_on
    rest = [trial for trial in trials if trial.recipe.runs_on == where and trial.alive]
    if exact.status == "skipped":  # nothing to gain, which is not a failure
        for trial in rest:
            trial.drop("skipped", str(exact.error))
        return
    if exact.score is None or not exact.alive:
        reason = f"its unquantized build failed: {exact.error}"
        passed, tokens = False, None
    else:
        test = evaluator_for(ctx.model).parity_check(original, exact, exact.score, requirements)
        reason, passed, tokens = test.reason, test.ok, test.tokens
        exact.facts["null_test"] = reason
    exact.conversion = _conversion(exact, passed, reason, tokens)
    if passed:
        return
    for trial in rest:
        trial.drop("disqualified", f"{where} fails the parity check: {reason}")
        ctx.emit(Event(trial.recipe.key, "disqualified", reason))


def _conversion(exact: Trial, passed: bool, reason: str, tokens: TokenComparison | None) -> Conversion:
    """Return the result of the parity check, for the table of all backends."""
    scored = exact.score.facts if exact.score else {}
    figures = {n: exact.figures.get(n) or Figure.missing(reason) for n in CONVERSION_FIGURES}
    return Conversion(
        exact.recipe.runs_on,
        exact.recipe.key,
        tokens.equal if tokens else None,
        **figures,
        passed=passed,
        reason=reason,
        compared=scored.get("compared"),
        vocabulary=scored.get("vocabulary"),
        token_mismatch=tokens.mismatch if tokens else NOT_COMPARED,
        notes=tokens.notes if tokens else (),
    )


def in_parallel(ctx: RunContext, trials: Sequence[Trial], work: Callable[[RunContext, Trial], None]) -> None:
    """Call `work` with each trial, several at a time. Jobs that run at the same time on one machine share its memory.

    Each gets an equal share as its limit: with the limit of a single job each, together they could exhaust the memory.
    """
    count = max(1, min(parallel_builds(ctx), len(trials)))
    limits = ctx.build_executor.limits
    if limits.bytes is not None and not ctx.build_executor.executor.slots:  # else each slot is a machine
        limits = replace(limits, bytes=limits.bytes // count)
    limited = replace(ctx, build_executor=replace(ctx.build_executor, limits=limits))
    with CHILDREN.pool(count) as pool:
        list(pool.map(lambda trial: work(limited, trial), trials))


def parallel_builds(ctx: RunContext) -> int:
    """Return the number of parallel builds: at most 4 or the usable threads, and 3 models' memory for each."""
    executor = ctx.build_executor.executor
    if executor.slots:
        return executor.slots
    limit = ctx.build_executor.limits.bytes
    memory = limit or executor.device.memory_available_bytes or executor.device.usable_memory_bytes or 0
    return building.at_once(ctx.model, executor.device.threads, memory)
