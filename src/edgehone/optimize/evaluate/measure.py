"""Measure speed in interleaved rounds, then memory, then energy. Only one measurement runs at a time."""

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

# Intervals over fewer processes are too wide to stop measuring.
MIN_ROUNDS = 3

# Attempts at a measurement during which the system clock jumps.
ATTEMPTS = 3
# The most seconds at each batch size, in the search for a graph's best one.
SWEEP_SECONDS = 0.15

# Requests of each client whose samples are loaded while memory is measured.
FEW_REQUESTS = 4
NOT_SWEPT = (
    "measured for the original and the chosen candidate only, unless a gate or target is on throughput_per_s"
)

# Every figure measured here, with its unit.
UNITS = {**speed.UNITS, **memory.UNITS, **energy.UNITS}

# Figures that depend on the runtime settings, not only on the outputs: they are measured again for other settings.
RUNTIME_FIGURES = {*UNITS, memory.ACCELERATOR, "throughput_per_s", vision.FIRST}


def measure(ctx: RunContext, original: Original, trials: Sequence[Trial]) -> None:
    """Set the speed, memory and energy figures of the baseline and of every trial that is alive."""
    trials = measurable(ctx, trials)
    ctx.emit(Event("", detail="measuring speed in rounds; no other job of edgehone runs meanwhile"))
    measure_speed(ctx, original, [original.baseline, *trials])
    ctx.emit(Event("", detail="measuring memory and energy"))
    for trial in [original.baseline, *trials]:
        measure_memory(ctx, original, trial)
        finish(ctx, original, trial)


def finish(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Measure what needs one measurement only: throughput, time to first token after a picture, and energy."""
    if ctx.sweeps_batches:
        sweep_batches(ctx, original, trial)
    elif trial.alive and ctx.model.kind == "graph":
        trial.figures["throughput_per_s"] = Figure.missing(NOT_SWEPT, "samples/s")
    if trial.alive:
        with guarded(ctx, trial):
            pictures.time_first(ctx, original, trial)
    _energy(ctx, original, trial)
    if trial.alive:
        ctx.emit(Event(trial.recipe.key, "done", _summary(trial)))


def conditions(trials: Sequence[Trial]) -> list[str]:
    """Return notes on conditions that affect the figures: unsteady speed, a busy machine, a truncated reference."""
    unsteady = [trial.recipe.key for trial in trials if trial.alive and trial.facts.get("unstable")]
    notes = [f"speed not steady within 3 % of the value: {', '.join(unsteady)}"] if unsteady else []
    shares = [s for t in trials if (s := speed.disturbance(t.samples.get("rounds", []))) is not None]
    mean = sum(shares) / len(shares) if shares else 0.0
    if mean > speed.DISTURBED:
        notes.append(
            f"the machine was busy: other programs used {mean:.0%} of the processors while speed was measured"
        )
    discarded = [jump for trial in trials for jump in trial.facts.get("discarded", ())]
    if discarded:
        causes = "; ".join(dict.fromkeys(discarded))
        notes.append(f"{len(discarded)} measurements were discarded and repeated: {causes}")
    if any(trial.facts.get("kl_is_lower_bound") for trial in trials):
        notes.append("KL is a lower bound: the reference contains only the most likely tokens")
    return notes


def measurable(ctx: RunContext, trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials whose backend can be measured on this device; the figures of the others are missing."""
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
    """Set the speed figures of the trials that are alive.

    Run rounds over all trials whose latency is not steady yet, until all are steady or the effort's rounds or budget
    are used up.
    """
    rounds: dict[str, list[JobResult]] = {trial.recipe.key: [] for trial in trials}
    spent = 0.0  # recorded seconds of the rounds, so that a run that finds them in the store decides the same
    for number in range(ctx.effort.rounds):
        waiting = [trial for trial in trials if trial.alive and not _settled(trial, rounds)]
        for trial in in_turn(waiting, number):
            # Every trial gets the first rounds; the budget limits the others.
            if number < MIN_ROUNDS or spent < ctx.effort.budget:
                with guarded(ctx, trial):
                    # The first round starts from a cold page cache, the others from a warm one.
                    done = speed_round(ctx, original, trial, number, cold=number == 0)
                    spent += done.seconds
                    rounds[trial.recipe.key].append(done)
                    note_rounds(ctx, original, trial, [one.facts for one in rounds[trial.recipe.key]])
                original.require_baseline()


def speed_round(ctx: RunContext, original: Original, trial: Trial, number: int, *, cold: bool) -> JobResult:
    """Run one round of a trial: a fresh process that times requests for the seconds of the effort."""
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
    """Run one exclusive measurement job, keyed by the device too. Repeat it if the system clock jumped meanwhile.

    Raises JobError if it jumped in every attempt.
    """
    assert trial.artifact is not None
    for attempt in range(ATTEMPTS):
        again = {"attempt": attempt} if attempt else {}
        done = ctx.run(
            trial.recipe.backend,
            call,
            {"settings": dict(trial.recipe.settings), **original.request, **more, **again},
            {"artifact": Input.of(trial.artifact), **original.inputs},
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
        f"{done.jump} during a measurement, {ATTEMPTS} times in a row",
        hint="prevent sleep and clock changes (systemd-inhibit, timedatectl), then run the same command again",
    )


def note_rounds(
    ctx: RunContext, original: Original, trial: Trial, rounds: Sequence[Mapping[str, Any]]
) -> None:
    """Set a trial's speed figures from the facts of all its rounds so far."""
    figures = evaluator_for(ctx.model).speed_figures(original, rounds)
    trial.figures.update(figures)
    trial.samples["rounds"] = list(rounds)
    trial.facts["unstable"] = not speed.is_steady(figures["workload_latency_ms"])


def _settled(trial: Trial, rounds: Mapping[str, Sequence[JobResult]]) -> bool:
    enough = len(rounds[trial.recipe.key]) >= MIN_ROUNDS
    return enough and speed.is_steady(trial.figures["workload_latency_ms"])


def in_turn(trials: Sequence[Trial], number: int) -> Sequence[Trial]:
    """Return the trials in a different order each round, so that none always runs first or after the same other one."""
    if not trials:
        return trials
    shift = number % len(trials)
    turned = [*trials[shift:], *trials[:shift]]
    return turned if number % 2 == 0 else turned[::-1]


def sweep_finalists(ctx: RunContext, original: Original, chosen: Trial | None) -> None:
    """Measure the throughput of the original and of the trial that would be chosen, if it was not measured for all."""
    if chosen is None or ctx.sweeps_batches:
        return
    for trial in {id(one): one for one in (original.baseline, chosen)}.values():
        sweep_batches(ctx, original, trial)


def sweep_batches(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Measure samples/s at the best batch size. Graphs only: the workload fixes a language model's batch size."""
    if not trial.alive or ctx.model.kind != "graph":
        return
    with guarded(ctx, trial):
        on_progress = ctx.announce(trial.recipe, "measuring", "throughput")
        seconds = min(SWEEP_SECONDS, ctx.effort.seconds)
        done = _pass(ctx, original, trial, "edgehone.worker.throughput:sweep", on_progress, seconds=seconds)
        trial.figures["throughput_per_s"] = throughput.figure(done.facts)
        trial.facts["best_batch"] = done.facts["best"]
        trial.samples["throughput"] = done.facts


def measure_memory(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Set the memory figures of a trial that is alive, measured in a separate process."""
    if not trial.alive:
        return
    device = trial.recipe.device
    with guarded(ctx, trial):
        on_progress = ctx.announce(trial.recipe, "measuring", "memory")
        # The user's samples would be counted as the model's memory: only those of a few requests are loaded.
        few = {"most_samples": FEW_REQUESTS * ctx.workload.sequences} if ctx.model.kind == "graph" else {}
        call = "edgehone.worker.memory:exercise"
        watch = memory.AcceleratorWatch if device else memory.MemoryWatch
        done = _pass(ctx, original, trial, call, on_progress, watch=watch, **few)
        trial.figures.update(memory.figures(done.facts, done.watch, device))
        trial.samples["memory"] = {**done.facts, **done.watch}


def _energy(ctx: RunContext, original: Original, trial: Trial) -> None:
    if not trial.alive:
        return
    device = trial.recipe.device
    beyond = device and f"the energy of the processor's package may not include {device}"
    if reason := ctx.target_executor.call("edgehone.worker.energy:why_unreadable") or beyond:
        trial.figures["energy_j"] = Figure.missing(reason, "J")
        return
    with guarded(ctx, trial):
        on_progress = ctx.announce(trial.recipe, "measuring", "energy")
        done = _pass(ctx, original, trial, "edgehone.worker.energy:meter", on_progress)
        trial.figures["energy_j"] = energy.figure(done.facts)
        trial.samples["energy"] = done.facts


def _summary(trial: Trial) -> str:
    names = ("decode_tokens_per_s", "peak_memory_bytes", "workload_latency_ms")
    # Without time left, the original has no rounds.
    decode, peak, latency = (one.value if (one := trial.figures.get(name)) else None for name in names)
    parts = [f"decode {decode:.0f} tokens/s"] if decode else [f"{latency:.2f} ms"] if latency else []
    parts += [f"peak {peak / 2**20:.0f} MiB"] if peak else []
    return ", ".join(parts)
