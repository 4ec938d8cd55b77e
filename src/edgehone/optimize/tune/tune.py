"""Tune: find better runtime settings for the chosen artifact on this device.

Explore: measure each other value of each setting against the recipe's own in paired rounds, changing one setting at a
time, and eliminate those whose paired interval shows no gain. Confirm: combine the values that seem to gain, score the
combination against the original, and measure it again in fresh rounds with the chosen recipe and the original, because
the best of many measurements is partly luck. The combination replaces the chosen recipe only if its advantage exceeds
its interval; otherwise nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.core.events import Event
from edgehone.decision import race
from edgehone.decision.choice import choose, contenders
from edgehone.decision.decide import judged_of
from edgehone.decision.objectives import objectives
from edgehone.decision.race import Advantage
from edgehone.decision.requirements import Requirements
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import measure, speed_rounds
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.evaluate.request_prompts import CONFIRMING
from edgehone.optimize.evaluate.same_tokens import TOKENS_PER_PASS
from edgehone.optimize.original import Original
from edgehone.optimize.search.clock import Budget, Clock
from edgehone.optimize.search.history import Study
from edgehone.optimize.trial import Trial
from edgehone.optimize.tune.layers import fewest
from edgehone.optimize.tune.paired_rounds import PairedRounds
from edgehone.optimize.tune.variants import changed, scored_variant, variant_of, variants, with_settings

# Smallest gain in the score that justifies another setting: 1 % of the latency, at a weight of 1.
MIN_GAIN = 0.01
# Share of the time for exploring; the rest is for confirming.
EXPLORE_SHARE = 0.6
# Fewer rounds give neither intervals of speed figures nor of paired advantages.
MIN_PAIRED_ROUNDS = max(speed_rounds.MIN_ROUNDS, race.LEAST_PAIRS)
SUFFIX = "+tuned"
# Confirming adds rounds, which may change the choice. At most this many chosen trials are tuned.
MAX_TUNED = 2
NOT_COMPARED = "the time was over before it was compared"


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
    """Return the chosen trial with better settings, as a new trial; [] if none are better.

    Uses the rest of `clock`, else the effort's tuning budget. The settings tried are recorded in `facts["tuning"]` of
    the tuned trial, or of the chosen one, and in the history; `facts["untuned"]` says why none were tried. If the
    rounds of confirming change the choice, the newly chosen trial is tuned too, at most once.
    """
    tuned: list[Trial] = []
    for _ in range(MAX_TUNED):
        chosen = chosen_trial([*trials, *tuned], original, required, weights)
        if chosen is None or (clock is None and not ctx.effort.tuning):
            break
        if {"tuned_from", "tuning", "untuned"} & set(chosen.facts):
            break
        tuned += _tune(ctx, original, chosen, required, weights, clock=clock, study=study)
    return tuned


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
    if chosen.recipe.device:
        return _fewer_layers(ctx, original, chosen, required, study)
    exploring, confirming = _limits(ctx, clock)
    weighted = _weighted(ctx, original, chosen, weights)
    others = variants(ctx, original, chosen, required) if weighted and not exploring.over else []
    if not others:
        reason = f"{chosen.recipe.backend} has no settings that affect the weighted objectives"
        chosen.facts["untuned"] = "no time was left" if exploring.over else reason
        return []
    ctx.emit(Event("", detail=f"tuning the runtime settings of {chosen.recipe.key}"))
    paired = PairedRounds(
        replace(ctx, measurement_group="tuning"), original, weighted, [variant_of(original, chosen), *others]
    )
    _explore(paired, exploring)
    finalists = _finalists(ctx, original, chosen, paired)
    records = [_record(variant, chosen.recipe, paired.advantage(variant, 1)) for variant in others]
    paired = PairedRounds(
        replace(ctx, measurement_group=CONFIRMING),
        original,
        weighted,
        [variant_of(original, chosen), *finalists],
    )
    winner = _confirm(paired, chosen, required, confirming)
    records += [
        {**_record(one, chosen.recipe, paired.advantage(one, 1)), "confirmed": one is winner}
        for one in finalists
    ]
    if winner is not None:
        _supersede(paired, chosen, winner)
    study.record(*others, *finalists)
    (winner or chosen).facts["tuning"] = records
    if winner is None:
        return []
    measure.finish(ctx, original, winner)
    return [winner]


def _fewer_layers(
    ctx: RunContext, original: Original, chosen: Trial, required: Requirements, study: Study
) -> list[Trial]:
    """Return the chosen trial with fewer layers on its accelerator, where a target says how few are enough."""
    winner, tried = fewest(ctx, original, chosen, required)
    if not tried:
        chosen.facts["untuned"] = (
            f"on {chosen.recipe.device} only the layers there are searched, for a target of speed"
        )
        return []
    records = [{**_record(one, chosen.recipe, None), "confirmed": one is winner} for one in tried]
    (winner or chosen).facts["tuning"] = records
    study.record(*tried)
    if winner is None:
        return []
    measure.finish(ctx, original, winner)
    return [winner]


def chosen_trial(
    trials: Sequence[Trial], original: Original, required: Requirements, weights: Mapping[str, float]
) -> Trial | None:
    """Return the trial that would be chosen from the figures so far; None if none passes the gates."""
    baseline = original.baseline.candidate()
    judged = [judged_of(trial.candidate(), baseline, required) for trial in trials]
    choice = choose(contenders(judged), weights, baseline)
    return next((trial for trial in trials if choice and trial.recipe.key == choice.key), None)


def _limits(ctx: RunContext, clock: Clock | None) -> tuple[Clock | Budget, Clock | Budget]:
    """Return the time limits of exploring and of confirming."""
    if clock is not None:
        return Clock(max(0.0, clock.left) * EXPLORE_SHARE), clock
    return Budget(ctx.effort.tuning * EXPLORE_SHARE), Budget(ctx.effort.tuning * (1 - EXPLORE_SHARE))


def _weighted(
    ctx: RunContext, original: Original, chosen: Trial, weights: Mapping[str, float]
) -> dict[str, float]:
    """Return the weights of objectives that settings can change and that paired rounds can compare.

    Quality that cannot be compared in pairs is not weighted; `_reject_worse_outputs` handles it.
    """
    known = {
        "speed": chosen.figures["workload_latency_ms"].value,
        "throughput": chosen.figures["requests_per_s"].value,
        "memory": chosen.figures["peak_memory_bytes"].value,
    }
    usable = {name: weights[name] for name, value in known.items() if value and weights.get(name, 0.0) > 0}
    paired = evaluator_for(ctx.model).kept_by_window(original, chosen) is not None
    if usable and weights.get("quality", 0.0) > 0 and paired:
        usable["quality"] = weights["quality"]
    return usable


def _explore(paired: PairedRounds, limit: Clock | Budget) -> None:
    """Run paired rounds until each challenger is eliminated or surely ahead.

    Stop after half of the effort's rounds, or when the time is over.
    """
    for trial in paired.trials:
        measure.measure_memory(paired.ctx, paired.original, trial)
    looks = paired.ctx.effort.rounds
    for number in range(max(MIN_PAIRED_ROUNDS, looks // 2)):
        whole = paired.run_round(number, limit)
        if number + 1 >= MIN_PAIRED_ROUNDS:
            for trial in paired.challengers:
                ahead = paired.advantage(trial, looks)
                if ahead and ahead.high is not None and ahead.high < MIN_GAIN:
                    paired.eliminate(trial, f"no gain: {_text(ahead)}")
            if all(_surely(paired.advantage(trial, looks)) for trial in paired.challengers):
                return
        if not whole:
            return


def _surely(ahead: Advantage | None) -> bool:
    return ahead is not None and ahead.low is not None and ahead.low > 0 and ahead.value >= MIN_GAIN


def _finalists(ctx: RunContext, original: Original, chosen: Trial, paired: PairedRounds) -> list[Trial]:
    """Return the trials to confirm: the best values of all settings that seem to gain, combined, and the best alone."""
    gains: dict[str, tuple[float, Any]] = {}
    for trial in paired.challengers:
        ahead = paired.advantage(trial, 1)
        [(name, value)] = changed(trial.recipe, chosen.recipe).items()
        if ahead and ahead.value >= max(MIN_GAIN, gains.get(name, (0.0, None))[0]):
            gains[name] = ahead.value, value
    if not gains:
        return []
    together = {name: value for name, (_, value) in gains.items()}
    best = max(gains, key=lambda name: gains[name][0])
    sets = [together] if len(gains) == 1 else [together, {best: together[best]}]
    return [
        scored_variant(ctx, original, chosen, with_settings(chosen.recipe, settings)) for settings in sets
    ]


def _confirm(
    paired: PairedRounds, chosen: Trial, required: Requirements, limit: Clock | Budget
) -> Trial | None:
    """Return the finalist whose advantage exceeds its interval and that passes every gate; None if there is none.

    The rounds also count for the chosen trial and the original.
    """
    original, finalists = paired.original, list(paired.challengers)
    if not finalists:
        return None
    for trial in finalists:
        _reject_worse_outputs(trial, chosen, paired.weights)
    for trial in paired.trials:
        measure.measure_memory(paired.ctx, original, trial)
    baseline = Trial(original.baseline.recipe, artifact=original.baseline.artifact)
    looks = paired.ctx.effort.rounds * len(finalists)
    for number in range(paired.ctx.effort.rounds):
        # With the effort's budget every trial gets the first rounds, as in `measure`, because fewer give no interval.
        # The user's time limit has no such exception.
        free = number < MIN_PAIRED_ROUNDS and isinstance(limit, Budget)
        if not paired.challengers or not paired.run_round(
            number, Budget(math.inf) if free else limit, baseline
        ):
            break
        if number + 1 < MIN_PAIRED_ROUNDS:
            continue
        for trial in paired.challengers:
            ahead = paired.advantage(trial, looks)
            if ahead and ahead.high is not None and ahead.high < MIN_GAIN:
                paired.eliminate(trial, f"no gain when confirming: {_text(ahead)}")
        if all(
            _surely(paired.advantage(trial, looks)) and paired.steady(trial) for trial in paired.challengers
        ):
            break
    paired.extend(chosen, chosen.recipe.key)
    paired.extend(original.baseline, baseline.recipe.key)
    return _winner(paired, chosen, required, looks)


def _reject_worse_outputs(trial: Trial, chosen: Trial, weights: Mapping[str, float]) -> None:
    """Skip a trial whose quality is worse than the chosen one's, if quality cannot be compared in pairs."""
    if "quality" in weights or not trial.alive:
        return
    quality, chosen_quality = (objectives(one.candidate())["quality"] for one in (trial, chosen))
    if quality is not None and chosen_quality is not None and quality < chosen_quality - MIN_GAIN:
        trial.drop(
            "skipped", f"its outputs differ more from the original's, by {chosen_quality - quality:.2g} nats"
        )


def _winner(paired: PairedRounds, chosen: Trial, required: Requirements, looks: int) -> Trial | None:
    baseline = paired.original.baseline.candidate()
    winners: list[tuple[float, Trial]] = []
    for trial in list(paired.challengers):
        ahead = paired.advantage(trial, looks)
        if ahead is None or not _surely(ahead):
            paired.eliminate(trial, f"the advantage does not exceed its interval: {_text(ahead)}")
            continue
        failing = [v.reason for v in judged_of(trial.candidate(), baseline, required).verdicts if not v.ok]
        if failing:
            paired.eliminate(trial, f"ahead in the score, but fails {'; '.join(failing)}")
        else:
            winners.append((ahead.value, trial))
    best = max(winners, key=lambda one: one[0])[1] if winners else None
    for _, trial in winners:
        if trial is not best:
            paired.eliminate(trial, "confirmed, but the other finalist has a larger advantage")
    return best


def _supersede(paired: PairedRounds, chosen: Trial, winner: Trial) -> None:
    """Rename the winner, and mark the chosen trial as superseded."""
    shown = _text(paired.advantage(winner, 1))
    winner.recipe = replace(winner.recipe, name=chosen.recipe.name + SUFFIX)
    chosen.facts["raced_out"] = (
        f"superseded by {winner.recipe.key}, the same artifact with better settings, {shown}"
    )


def _text(ahead: Advantage | None) -> str:
    if ahead is None:
        return "no paired rounds were run"
    if ahead.low is None or ahead.high is None:
        return f"{ahead.value:+.2g} in the score, too few pairs for an interval"
    return f"{ahead.value:+.2g} in the score ({ahead.low:+.2g} to {ahead.high:+.2g})"


def _record(trial: Trial, before: Recipe, ahead: Advantage | None) -> dict[str, Any]:
    """Return the result of a setting, for the decision."""
    latency = trial.figures.get("workload_latency_ms")
    return {
        "key": trial.recipe.key,
        "settings": changed(trial.recipe, before),
        "status": trial.status,
        "latency_ms": latency.value if latency else None,
        "ahead": ahead.value if ahead else None,
        "low": ahead.low if ahead else None,
        "high": ahead.high if ahead else None,
        TOKENS_PER_PASS: trial.facts.get(TOKENS_PER_PASS),
        "reason": trial.error or trial.facts.get("raced_out") or (None if ahead else NOT_COMPARED),
    }
