"""Measure speed (`speed_rounds`), then memory, then energy. Only one measurement runs at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgehone.backends.capabilities import measurement_obstacle
from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.core.sizes import shown
from edgehone.evaluation import energy, memory, speed, throughput, vision
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import vision as pictures
from edgehone.optimize.evaluate.exclusive import run_exclusively
from edgehone.optimize.evaluate.speed_rounds import MIN_ROUNDS, Contest, measure_speed, settle
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial, guarded

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


def measure(
    ctx: RunContext, original: Original, trials: Sequence[Trial], contest: Contest | None = None
) -> None:
    """Set the speed, memory and energy figures of the baseline and of every trial that is alive.

    With a `contest`, every candidate gets a few rounds, and those that the choice depends on get more. Without one all
    are measured until their latency is steady.
    """
    trials = measurable(ctx, trials)
    ctx.emit(Event("", detail="measuring speed in rounds; no other job of edgehone runs meanwhile"))
    few = MIN_ROUNDS if contest else None
    number = measure_speed(ctx, original, [original.baseline, *trials], few)
    ctx.emit(Event("", detail="measuring memory and energy"))
    for trial in [original.baseline, *trials]:
        measure_memory(ctx, original, trial)
        finish(ctx, original, trial)
    if contest:
        settle(ctx, original, trials, contest, number)


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
    """Return the trials that can be measured on this device; the figures of the others are missing."""
    rest = []
    for trial in trials:
        reason = measurement_obstacle(ctx.backends[trial.recipe.backend], ctx.device) or _too_large(
            ctx, trial
        )
        if reason is None:
            rest.append(trial)
        elif trial.alive:
            trial.figures.update({name: Figure.missing(reason, unit) for name, unit in UNITS.items()})
            trial.facts["unmeasurable"] = reason
            ctx.emit(Event(trial.recipe.key, "done", "proven, not measured"))
    return rest


def _too_large(ctx: RunContext, trial: Trial) -> str | None:
    """Return why the speed of an artifact larger than the memory is not measured; None for any other."""
    room = ctx.target_executor.limits.bytes
    if room is None or trial.bytes is None or trial.bytes <= room or ctx.model.kind != "language":
        return None
    return (
        f"its weights ({shown(trial.bytes)}) do not fit the memory that a job may use ({shown(room)}): every token "
        "would read them from the disk again"
    )


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
        done = run_exclusively(
            ctx, original, trial, "edgehone.worker.throughput:sweep", on_progress, seconds=seconds
        )
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
        few: dict[str, Any] = {}
        if ctx.model.kind == "graph":
            few = {"most_samples": FEW_REQUESTS * ctx.workload.sequences}
        call = "edgehone.worker.memory:exercise"
        watch = memory.AcceleratorWatch if device else memory.MemoryWatch
        done = run_exclusively(ctx, original, trial, call, on_progress, watch=watch, **few)
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
        done = run_exclusively(ctx, original, trial, "edgehone.worker.energy:meter", on_progress)
        trial.figures["energy_j"] = energy.figure(done.facts)
        trial.samples["energy"] = done.facts


def _summary(trial: Trial) -> str:
    names = ("decode_tokens_per_s", "peak_memory_bytes", "workload_latency_ms")
    # Without time left, the original has no rounds.
    decode, peak, latency = (one.value if (one := trial.figures.get(name)) else None for name in names)
    parts = [f"decode {decode:.0f} tokens/s"] if decode else [f"{latency:.2f} ms"] if latency else []
    parts += [f"peak {peak / 2**20:.0f} MiB"] if peak else []
    return ", ".join(parts)
