"""Tune: how the chosen artifact is best run here, by its backend's runtime settings.

First each other value of each setting runs beside the recipe's own, one changed at a time, in rounds that all share;
whoever the paired interval shows not to gain is out. What seems to gain is then put together, proven against the
original, and confirmed in fresh rounds beside the chosen recipe and the original, since the best of many readings is
partly luck. It takes the chosen one's place only where its advantage is beyond its interval; else nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.core.events import Event
from edgehone.decision import race
from edgehone.decision.choice import choose, contenders, objectives
from edgehone.decision.decide import judged_of
from edgehone.decision.race import Advantage
from edgehone.decision.requirements import Requirements
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import measure
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.original import Original
from edgehone.optimize.search.clock import Budget, Clock
from edgehone.optimize.search.history import Study
from edgehone.optimize.trial import Trial
from edgehone.optimize.tune.paired_rounds import PairedRounds
from edgehone.optimize.tune.variants import beside, changed, proven, variants, with_settings

# Less than this in the score (1 % of the latency, at a weight of 1) is not worth another setting.
MIN_GAIN = 0.01
# Of the time, what the first look at every value may take; the rest is for confirming.
EXPLORE_SHARE = 0.6
# Fewer rounds give no figure of speed an interval, nor a race.
MIN_PAIRED_ROUNDS = max(measure.MIN_ROUNDS, race.LEAST_PAIRS)
SUFFIX = "+tuned"
# So many chosen ones have their settings searched at most: more rounds may show that another is to be chosen.
PASSES = 2
OVER = "the time was over before it could be compared"


def tune(
    ctx: RunContext,
    original: Original,
    trials: Sequence[Trial],
    required: Requirements,
    weights: Mapping[str, float],
    *,
    clock: Clock | None,
    study: Study,
) -> list[Trial]:
    """The chosen trial with better settings, as a trial of its own; nothing where none are better.

    Within what is left of `clock`, else within what the effort grants. What was tried is in `facts["tuning"]` of the
    tuned trial, or of the chosen one, and in the history; `facts["untuned"]` says why nothing was. Where the rounds of
    confirming show that another trial is to be chosen, that one's settings are searched too, and no third's.
    """
    made: list[Trial] = []
    for _ in range(PASSES):
        chosen = chosen_trial([*trials, *made], original, required, weights)
        if chosen is None or (clock is None and not ctx.effort.tuning):
            break
        if {"tuned_from", "tuning", "untuned"} & set(chosen.facts):
            break
        made += _tune(ctx, original, chosen, required, weights, clock=clock, study=study)
    return made


def _tune(
    ctx: RunContext,
    original: Original,
    chosen: Trial,
    required: Requirements,
    weights: Mapping[str, float],
    *,
    clock: Clock | None,
    study: Study,
) -> list[Trial]:
    looking, confirming = _limits(ctx, clock)
    weighed = _weighed(ctx, original, chosen, weights)
    others = variants(ctx, original, chosen, required) if weighed and not looking.over else []
    if not others:
        nothing = f"{chosen.recipe.backend} names no settings that could gain by the weights"
        chosen.facts["untuned"] = "no time was left" if looking.over else nothing
        return []
    ctx.emit(Event("", detail=f"searching the runtime settings of {chosen.recipe.key}"))
    field = PairedRounds(
        replace(ctx, measurement_group="tuning"), original, weighed, [beside(original, chosen), *others]
    )
    _look(field, looking)
    finalists = _finalists(ctx, original, chosen, field)
    told = [_told(variant, chosen.recipe, field.ahead(variant, 1)) for variant in others]
    field = PairedRounds(
        replace(ctx, measurement_group="confirming"),
        original,
        weighed,
        [beside(original, chosen), *finalists],
    )
    winner = _confirm(field, chosen, required, confirming)
    told += [
        {**_told(one, chosen.recipe, field.ahead(one, 1)), "confirmed": one is winner} for one in finalists
    ]
    if winner is not None:
        _supersede(field, chosen, winner)
    study.record(*others, *finalists)
    (winner or chosen).facts["tuning"] = told
    if winner is None:
        return []
    measure.finish(ctx, original, winner)
    return [winner]


def chosen_trial(
    trials: Sequence[Trial], original: Original, required: Requirements, weights: Mapping[str, float]
) -> Trial | None:
    """The trial that would be chosen by what is known now; None where nothing passes."""
    baseline = original.baseline.candidate()
    judged = [judged_of(trial.candidate(), baseline, required) for trial in trials]
    choice = choose(contenders(judged), weights)
    return next((trial for trial in trials if choice and trial.recipe.key == choice.key), None)


def _limits(ctx: RunContext, clock: Clock | None) -> tuple[Clock | Budget, Clock | Budget]:
    """Of the first look, and of confirming."""
    if clock is not None:
        return Clock(max(0.0, clock.left) * EXPLORE_SHARE), clock
    return Budget(ctx.effort.tuning * EXPLORE_SHARE), Budget(ctx.effort.tuning * (1 - EXPLORE_SHARE))


def _weighed(
    ctx: RunContext, original: Original, chosen: Trial, weights: Mapping[str, float]
) -> dict[str, float]:
    """The weights of what settings can change and pairs can compare; quality that cannot be paired is held to."""
    known = {
        "speed": chosen.figures["workload_latency_ms"].value,
        "throughput": chosen.figures["requests_per_s"].value,
        "memory": chosen.figures["peak_memory_bytes"].value,
    }
    found = {name: weights[name] for name, value in known.items() if value and weights.get(name, 0.0) > 0}
    paired = evaluator_for(ctx.model).kept_by_window(original, chosen) is not None
    if found and weights.get("quality", 0.0) > 0 and paired:
        found["quality"] = weights["quality"]
    return found


def _look(field: PairedRounds, limit: Clock | Budget) -> None:
    """Heats of all, until each is out or surely ahead, half the effort's rounds have run, or the time is up."""
    for trial in field.trials:
        measure.measure_memory(field.ctx, field.original, trial)
    looks = field.ctx.effort.rounds
    for number in range(max(MIN_PAIRED_ROUNDS, looks // 2)):
        whole = field.run_round(number, limit)
        if number + 1 >= MIN_PAIRED_ROUNDS:
            for trial in field.rivals:
                ahead = field.ahead(trial, looks)
                if ahead and ahead.high is not None and ahead.high < MIN_GAIN:
                    field.out(trial, f"no gain: {_shown(ahead)}")
            if all(_surely(field.ahead(trial, looks)) for trial in field.rivals):
                return
        if not whole:
            return


def _surely(ahead: Advantage | None) -> bool:
    return ahead is not None and ahead.low is not None and ahead.low > 0 and ahead.value >= MIN_GAIN


def _finalists(ctx: RunContext, original: Original, chosen: Trial, field: PairedRounds) -> list[Trial]:
    """What to confirm: the best value of each setting that seems to gain, all together, and the best of them alone."""
    gains: dict[str, tuple[float, Any]] = {}
    for trial in field.rivals:
        ahead = field.ahead(trial, 1)
        [(name, value)] = changed(trial.recipe, chosen.recipe).items()
        if ahead and ahead.value >= max(MIN_GAIN, gains.get(name, (0.0, None))[0]):
            gains[name] = ahead.value, value
    if not gains:
        return []
    together = {name: value for name, (_, value) in gains.items()}
    best = max(gains, key=lambda name: gains[name][0])
    sets = [together] if len(gains) == 1 else [together, {best: together[best]}]
    return [proven(ctx, original, chosen, with_settings(chosen.recipe, settings)) for settings in sets]


def _confirm(
    field: PairedRounds, chosen: Trial, required: Requirements, limit: Clock | Budget
) -> Trial | None:
    """The finalist that is ahead of the chosen one beyond its interval and passes every gate, renamed; None if none.

    The rounds of the chosen one and of the original count for these too.
    """
    original, finalists = field.original, list(field.rivals)
    if not finalists:
        return None
    for trial in finalists:
        _hold_to_outputs(trial, chosen, field.weights)
    for trial in field.trials:
        measure.measure_memory(field.ctx, original, trial)
    beside = Trial(original.baseline.recipe, artifact=original.baseline.artifact)
    looks = field.ctx.effort.rounds * len(finalists)
    for number in range(field.ctx.effort.rounds):
        # Under an effort's budget the first rounds are everybody's, as in measuring: fewer tell nothing. A user's time
        # ends when it ends.
        free = number < MIN_PAIRED_ROUNDS and isinstance(limit, Budget)
        if not field.rivals or not field.run_round(number, Budget(math.inf) if free else limit, beside):
            break
        if number + 1 < MIN_PAIRED_ROUNDS:
            continue
        for trial in field.rivals:
            ahead = field.ahead(trial, looks)
            if ahead and ahead.high is not None and ahead.high < MIN_GAIN:
                field.out(trial, f"no gain when it was confirmed: {_shown(ahead)}")
        if all(_surely(field.ahead(trial, looks)) and field.steady(trial) for trial in field.rivals):
            break
    field.extend(chosen, chosen.recipe.key)
    field.extend(original.baseline, beside.recipe.key)
    return _winner(field, chosen, required, looks)


def _hold_to_outputs(trial: Trial, chosen: Trial, weights: Mapping[str, float]) -> None:
    """Where quality cannot be weighed by pairs, it may not fall."""
    if "quality" in weights or not trial.alive:
        return
    own, before = (objectives(one.candidate())["quality"] for one in (trial, chosen))
    if own is not None and before is not None and own < before - MIN_GAIN:
        trial.drop("skipped", f"its outputs are further from the original's: {before - own:.2g} nats")


def _winner(field: PairedRounds, chosen: Trial, required: Requirements, looks: int) -> Trial | None:
    baseline = field.original.baseline.candidate()
    won: list[tuple[float, Trial]] = []
    for trial in list(field.rivals):
        ahead = field.ahead(trial, looks)
        if ahead is None or not _surely(ahead):
            field.out(trial, f"not confirmed beyond the interval: {_shown(ahead)}")
            continue
        failing = [v.reason for v in judged_of(trial.candidate(), baseline, required).verdicts if not v.ok]
        if failing:
            field.out(trial, f"gains, but fails {'; '.join(failing)}")
        else:
            won.append((ahead.value, trial))
    best = max(won, key=lambda one: one[0])[1] if won else None
    for _, trial in won:
        if trial is not best:
            field.out(trial, "confirmed, but the other one is further ahead")
    return best


def _supersede(field: PairedRounds, chosen: Trial, winner: Trial) -> None:
    """Give the winner its name, and take the chosen one out of the race."""
    shown = _shown(field.ahead(winner, 1))
    winner.recipe = replace(winner.recipe, name=chosen.recipe.name + SUFFIX)
    chosen.facts["raced_out"] = (
        f"out of the race: {winner.recipe.key} is the same with better settings, {shown}"
    )


def _shown(ahead: Advantage | None) -> str:
    if ahead is None:
        return "no pair of rounds was run"
    if ahead.low is None or ahead.high is None:
        return f"{ahead.value:+.2g} in the score, too few pairs for an interval"
    return f"{ahead.value:+.2g} in the score ({ahead.low:+.2g} to {ahead.high:+.2g})"


def _told(trial: Trial, before: Recipe, ahead: Advantage | None) -> dict[str, Any]:
    """A setting that was tried, for the decision."""
    latency = trial.figures.get("workload_latency_ms")
    return {
        "key": trial.recipe.key,
        "settings": changed(trial.recipe, before),
        "status": trial.status,
        "latency_ms": latency.value if latency else None,
        "ahead": ahead.value if ahead else None,
        "low": ahead.low if ahead else None,
        "high": ahead.high if ahead else None,
        "reason": trial.error or trial.facts.get("raced_out") or (None if ahead else OVER),
    }
