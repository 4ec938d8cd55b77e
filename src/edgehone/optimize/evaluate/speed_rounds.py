"""Measure speed in interleaved rounds, and go on where more rounds can decide the choice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgehone.core.events import Event
from edgehone.decision import pairs
from edgehone.decision.contest import contested
from edgehone.decision.decide import DISTURBED
from edgehone.decision.requirements import Requirements
from edgehone.evaluation import speed
from edgehone.execution.store import JobResult
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import request_prompts
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.evaluate.exclusive import TIME_REQUESTS, run_exclusively
from edgehone.optimize.evaluate.same_run import twins
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial, guarded

# Intervals over fewer processes are too wide to stop measuring.
MIN_ROUNDS = 3


@dataclass(frozen=True)
class Contest:
    """The references that the trials of a run are judged by."""

    required: Requirements
    weights: Mapping[str, float]


def in_epoch(ctx: RunContext, trials: Sequence[Trial]) -> RunContext:
    """Return the context with the epoch of a run of these trials.

    Rounds of another day, kernel, governor or power source are not compared with today's, nor are those of a run of
    other candidates: they were not measured close in time.
    """
    now = ctx.target_executor.call("edgehone.device.epoch:epoch")
    keys = sorted(trial.recipe.key for trial in trials)
    return replace(ctx, epoch=hashlib.sha256(json.dumps([now, keys]).encode()).hexdigest()[:16])


def measure_speed(
    ctx: RunContext, original: Original, trials: Sequence[Trial], most: int | None = None
) -> int:
    """Set the speed figures of the trials that are alive, and return the number of rounds.

    Run rounds over all trials whose latency is not steady yet, until all are steady or the effort's rounds (or `most`)
    or budget are used up. The original takes part in each, so that every run of a candidate has its pair.
    """
    counts = dict.fromkeys((trial.recipe.key for trial in trials), 0)
    spent = 0.0  # recorded seconds of the rounds, so that a run that finds them in the store decides the same
    most = ctx.effort.rounds if most is None else most
    for number in range(most):
        # Every trial gets the first rounds; the budget limits the others.
        if number >= MIN_ROUNDS and spent >= ctx.effort.budget:
            return number
        waiting = [t for t in trials if t.alive and not _settled(t, counts[t.recipe.key])]
        if not waiting:
            return number
        taking_part = [t for t in trials if t in waiting or (t is original.baseline and t.alive)]
        spent += _round(ctx, original, taking_part, number)
        for trial in taking_part:
            counts[trial.recipe.key] += 1
    return most


def settle(
    ctx: RunContext, original: Original, trials: Sequence[Trial], contest: Contest, number: int
) -> None:
    """Run more rounds of the trials that the choice depends on, until it is decided and its latency is steady.

    `number` is that of the first round. End when the effort's budget is used up; steadiness alone gets no more than the
    effort's rounds. Candidates that pass are compared with each other, so the original, often the slowest by far, takes
    part only while a gate that compares with it is undecided, or for steadiness.
    """
    spent, baseline = 0.0, original.baseline
    while spent < ctx.effort.budget:
        judged = [trial.candidate() for trial in trials]
        found = contested(judged, baseline.candidate(), contest.required, contest.weights)
        running = [trial for trial in trials if trial.alive and trial.recipe.key in found.keys]
        compared = [baseline] if found.with_original or not running else []
        if running:
            ctx.emit(Event("", detail=f"measuring on: {len(running)} candidates are too close to tell apart"))
        elif number < ctx.effort.rounds:
            best = [trial for trial in trials if trial.alive and trial.recipe.key == found.best]
            running = [] if all(_steady(t) for t in (*best, baseline)) else best
        if not running or not baseline.alive:
            return
        spent += _round(ctx, original, [*compared, *running], number)
        number += 1


def _round(ctx: RunContext, original: Original, trials: Sequence[Trial], number: int) -> float:
    """Run a round of each trial, close together in time. Returns the recorded seconds.

    What runs as the original does is not timed beside it: the original's requests are its own.
    """
    spent, baseline = 0.0, original.baseline
    same = twins(ctx, baseline, trials)
    keys = {one.recipe.key for one in same}
    for trial in in_turn([one for one in trials if one.recipe.key not in keys], number):
        with guarded(ctx, trial):
            # The first round starts from a cold page cache, the others from a warm one.
            done = speed_round(ctx, original, trial, number, cold=number == 0)
            spent += done.seconds
            for one in (trial, *same) if trial is baseline else (trial,):
                note_rounds(ctx, original, one, [*one.samples.get("rounds", ()), done.facts])
        original.require_baseline()
    return spent


def speed_round(ctx: RunContext, original: Original, trial: Trial, number: int, *, cold: bool) -> JobResult:
    """Run one round of a trial: a fresh process that times requests for the seconds of the effort.

    The fact `round` of the result is the name of the round, by which runs of several trials are paired.
    """
    on_progress = ctx.announce(trial.recipe, "measuring", f"speed, round {number + 1}")
    done = run_exclusively(
        ctx,
        original,
        trial,
        TIME_REQUESTS,
        on_progress,
        epoch=ctx.epoch,
        cold=cold,
        seconds=ctx.effort.seconds,
        round=number,
        **request_prompts.of_round(original, number, ctx.measurement_group),
    )
    name = f"{ctx.measurement_group} {number}".strip()
    return replace(done, facts={**done.facts, "round": name})


def note_rounds(
    ctx: RunContext, original: Original, trial: Trial, rounds: Sequence[Mapping[str, Any]]
) -> None:
    """Set a trial's speed figures from the facts of all its rounds so far.

    Disturbed rounds count only if there are too few others; then the trial is disturbed, and its gates on speed
    undecided.
    """
    evaluator = evaluator_for(ctx.model)
    shape = evaluator.request_shape(original)
    trial.samples["rounds"] = list(rounds)
    figures = evaluator.speed_figures(original, rounds)
    calm = [one for one in rounds if DISTURBED not in one]
    if len(calm) < min(MIN_ROUNDS, len(rounds)):
        trial.facts[DISTURBED] = next(one[DISTURBED] for one in reversed(rounds) if DISTURBED in one)
    else:
        trial.facts.pop(DISTURBED, None)
        if len(calm) < len(rounds):
            loads = {name: figures[name] for name in speed.LOADS}  # only one round is cold
            figures, rounds = evaluator.speed_figures(original, calm) | loads, calm
    trial.figures.update(figures)
    trial.facts["unstable"] = not speed.is_steady(trial.figures["workload_latency_ms"])
    trial.facts[pairs.ROUNDS] = {
        one["round"]: [one["at"], speed.latency_ms(one, shape), speed.rate_of(one, shape)] for one in rounds
    }


def _settled(trial: Trial, count: int) -> bool:
    return count >= MIN_ROUNDS and _steady(trial)


def _steady(trial: Trial) -> bool:
    return DISTURBED not in trial.facts and speed.is_steady(trial.figures["workload_latency_ms"])


def in_turn(trials: Sequence[Trial], number: int) -> Sequence[Trial]:
    """Return the trials in a different order each round, so that none always runs first or after the same other one."""
    if not trials:
        return trials
    shift = number % len(trials)
    turned = [*trials[shift:], *trials[:shift]]
    return turned if number % 2 == 0 else turned[::-1]
