"""Measure: speed in interleaved rounds, then memory, then energy; never two things at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgehone.backends.capabilities import measurement_obstacle
from edgehone.core.errors import JobError
from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.evaluation import energy, memory, speed, throughput, vision
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.execution.watch import Watch
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import vision as pictures
from edgehone.optimize.evaluate.evaluators import evaluator_for
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial, guarded

# An interval over fewer processes than this is too wide to stop at.
LEAST_ROUNDS = 3

# A measurement that the clocks spoil is made so often before it is given up.
ATTEMPTS = 3

# Every figure of this stage, with its unit.
UNITS = {**speed.UNITS, **memory.UNITS, **energy.UNITS}

# What is read of a run and not of the outputs: it is read anew where the same artifact is run in another way.
READ = {*UNITS, "throughput_per_s", vision.FIRST}


def measure(ctx: RunContext, original: Original, trials: Sequence[Trial]) -> None:
    """Fill the speed, memory and energy figures of the baseline and of every living trial."""
    trials = measurable(ctx, trials)
    ctx.emit(Event("", detail="measuring speed, in rounds; nothing else of edgehone runs meanwhile"))
    measure_speed(ctx, original, [original.baseline, *trials])
    ctx.emit(Event("", detail="measuring memory and energy"))
    for trial in [original.baseline, *trials]:
        measure_memory(ctx, original, trial)
        finish(ctx, original, trial)


def finish(ctx: RunContext, original: Original, trial: Trial) -> None:
    """What is read once, after speed and memory: throughput, the answer to a picture, and energy."""
    _throughput(ctx, original, trial)
    if trial.alive:
        with guarded(ctx, trial):
            pictures.time_first(ctx, original, trial)
    _energy(ctx, original, trial)
    if trial.alive:
        ctx.emit(Event(trial.recipe.key, "done", _summary(trial)))


def conditions(trials: Sequence[Trial]) -> list[str]:
    """What the figures suffer from: rounds that never got steady, a busy machine, a coarse reference."""
    shaky = [trial.recipe.key for trial in trials if trial.alive and trial.facts.get("unstable")]
    notes = [f"speed not steady within 3 % of the value: {', '.join(shaky)}"] if shaky else []
    shares = [s for t in trials if (s := speed.disturbance(t.samples.get("rounds", []))) is not None]
    mean = sum(shares) / len(shares) if shares else 0.0
    if mean > speed.DISTURBED:
        notes.append(
            f"the machine was not quiet: others took {mean:.0%} of the processors while speed was measured"
        )
    spoilt = [jump for trial in trials for jump in trial.facts.get("discarded", ())]
    if spoilt:
        causes = "; ".join(dict.fromkeys(spoilt))
        notes.append(f"{len(spoilt)} measurements were discarded and made again: {causes}")
    if any(trial.facts.get("kl_is_lower_bound") for trial in trials):
        notes.append("KL is a lower bound: the reference keeps the most likely tokens only")
    return notes


def measurable(ctx: RunContext, trials: Sequence[Trial]) -> list[Trial]:
    """Those whose backend can be measured on this machine; the others' figures are missing, with the reason."""
    rest = []
    for trial in trials:
        reason = measurement_obstacle(ctx.backends[trial.recipe.backend], ctx.device)
        if reason is None:
            rest.append(trial)
        elif trial.alive:
            trial.figures.update({name: Figure.missing(reason, unit) for name, unit in UNITS.items()})
            trial.facts["unmeasurable"] = reason
            ctx.emit(Event(trial.recipe.key, "done", "proven, not measured"))
    return rest


def measure_speed(ctx: RunContext, original: Original, trials: Sequence[Trial]) -> None:
    """Fill the speed figures of living trials.

    Rounds over all that are not steady yet, until all are or the effort's rounds or budget are spent.
    """
    rounds: dict[str, list[JobResult]] = {trial.recipe.key: [] for trial in trials}
    spent = 0.0  # what the rounds took when they ran: a run that finds them done decides the same
    for number in range(ctx.effort.rounds):
        waiting = [trial for trial in trials if trial.alive and not _settled(trial, rounds)]
        for trial in in_turn(waiting, number):
            # The first rounds are everybody's; after them the budget decides.
            if number < LEAST_ROUNDS or spent < ctx.effort.budget:
                with guarded(ctx, trial):
                    # The first round starts from a cold page cache, the others from a warm one.
                    done = speed_round(ctx, original, trial, number, cold=number == 0)
                    spent += done.seconds
                    rounds[trial.recipe.key].append(done)
                    note_rounds(ctx, original, trial, [one.facts for one in rounds[trial.recipe.key]])
                original.require_baseline()


def speed_round(ctx: RunContext, original: Original, trial: Trial, number: int, *, cold: bool) -> JobResult:
    """One round of a trial: a fresh process that times requests for as long as the effort says."""
    on_progress = ctx.announce(trial.recipe, "measuring", f"speed, round {number + 1}")
    return _pass(
        ctx,
        original,
        trial,
        "edgehone.worker.speed:time_requests",
        on_progress,
        cold=cold,
        seconds=ctx.effort.seconds,
        round=number,
    )


def _pass(
    ctx: RunContext,
    original: Original,
    trial: Trial,
    call: str,
    on_progress: Callable[[float, str], None],
    *,
    watch: Callable[[], Watch] = Watch,
    **more: Any,
) -> JobResult:
    """One measurement job: alone on the machine, keyed by the device as well; again where the clocks jumped meanwhile.

    Raises JobError where they jump each time.
    """
    assert trial.artifact is not None
    for attempt in range(ATTEMPTS):
        again = {"attempt": attempt} if attempt else {}
        done = ctx.run(
            trial.recipe.backend,
            call,
            {"settings": dict(trial.recipe.settings), **original.request, **more, **again},
            {"artifact": Input.of(trial.artifact), **original.given},
            opens_session=True,
            on_progress=on_progress,
            exclusive=True,
            also={"device": ctx.device.fingerprint},
            watch=watch,
        )
        if done.jump is None:
            return done
        trial.facts.setdefault("discarded", []).append(done.jump)
    raise JobError(
        f"{done.jump} while it was measured, {ATTEMPTS} times in a row",
        hint="keep the machine awake and its clock alone (systemd-inhibit, timedatectl), then run the same again",
    )


def note_rounds(
    ctx: RunContext, original: Original, trial: Trial, rounds: Sequence[Mapping[str, Any]]
) -> None:
    """Fill the speed figures from the facts of all rounds of a trial so far."""
    found = evaluator_for(ctx.model).speed_figures(original, rounds)
    trial.figures.update(found)
    trial.samples["rounds"] = list(rounds)
    trial.facts["unstable"] = not speed.is_steady(found["workload_latency_ms"])


def _settled(trial: Trial, rounds: Mapping[str, Sequence[JobResult]]) -> bool:
    enough = len(rounds[trial.recipe.key]) >= LEAST_ROUNDS
    return enough and speed.is_steady(trial.figures["workload_latency_ms"])


def in_turn(trials: Sequence[Trial], number: int) -> Sequence[Trial]:
    """Another order each round, so that no candidate always follows the same neighbour or the warm-up."""
    if not trials:
        return trials
    shift = number % len(trials)
    turned = [*trials[shift:], *trials[:shift]]
    return turned if number % 2 == 0 else turned[::-1]


def _throughput(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Samples a second at the best batch; what a language model is asked at once is the workload's to say."""
    if not trial.alive or ctx.model.kind != "graph":
        return
    with guarded(ctx, trial):
        on_progress = ctx.announce(trial.recipe, "measuring", "throughput")
        done = _pass(ctx, original, trial, "edgehone.worker.throughput:sweep", on_progress)
        trial.figures["throughput_per_s"] = throughput.figure(done.facts)
        trial.facts["best_batch"] = done.facts["best"]
        trial.samples["throughput"] = done.facts


def measure_memory(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Fill the memory figures of a living trial, in a process of its own."""
    if not trial.alive:
        return
    if reason := _beyond(trial):
        trial.figures.update({name: Figure.missing(reason, unit) for name, unit in memory.UNITS.items()})
        return
    with guarded(ctx, trial):
        on_progress = ctx.announce(trial.recipe, "measuring", "memory")
        done = _pass(
            ctx, original, trial, "edgehone.worker.memory:exercise", on_progress, watch=memory.MemoryWatch
        )
        trial.figures.update(memory.figures(done.facts, done.watch))
        trial.samples["memory"] = {**done.facts, **done.watch}


def _energy(ctx: RunContext, original: Original, trial: Trial) -> None:
    if not trial.alive:
        return
    if reason := ctx.target_executor.call("edgehone.worker.energy:why_unreadable") or _beyond(trial):
        trial.figures["energy_j"] = Figure.missing(reason, "J")
        return
    with guarded(ctx, trial):
        on_progress = ctx.announce(trial.recipe, "measuring", "energy")
        done = _pass(ctx, original, trial, "edgehone.worker.energy:meter", on_progress)
        trial.figures["energy_j"] = energy.figure(done.facts)
        trial.samples["energy"] = done.facts


def _beyond(trial: Trial) -> str | None:
    """Why memory and energy of a trial on an accelerator are not read; None on the CPU."""
    device = trial.recipe.device
    return (
        device and f"what runs on {device} is not in the process's memory, nor surely in the package's energy"
    )


def _summary(trial: Trial) -> str:
    decode, peak = trial.figures["decode_tokens_per_s"].value, trial.figures["peak_memory_bytes"].value
    latency = trial.figures["workload_latency_ms"].value
    parts = [f"decode {decode:.0f} tokens/s"] if decode else [f"{latency:.2f} ms"] if latency else []
    parts += [f"peak {peak / 2**20:.0f} MiB"] if peak else []
    return ", ".join(parts)
