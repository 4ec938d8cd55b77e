"""Find the bottleneck of the chosen candidate's decoding.

Every generated token reads all weights and the KV cache once. If these do not fit the processor's caches, memory
bandwidth limits decoding, and the figure `bandwidth_share` is the share of the measured read bandwidth that decoding
reaches. If it is below MEMORY_BOUND, something else limits decoding. Two measurements tell what: the time per token
that does not depend on the bytes read (a linear regression over the backend's builds), and the speed with half of the
threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import linear_regression

from edgehone.core.events import Event
from edgehone.core.figure import Figure
from edgehone.execution.threads import (
    threads_of,
)
from edgehone.optimize.context import (
    RunContext,
)
from edgehone.optimize.evaluate import speed_rounds
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial, guarded
from edgehone.plan import roofline

# Decoding at this share of the bandwidth counts as memory-bound: the best llama.cpp types reach it.
MEMORY_BOUND = 0.7
# Least ratio of the largest to the smallest build for a regression over their sizes.
_SIZE_RATIO = 1.2
# Decoding is compute-bound if half of the threads reach at most this share of the speed.
_COMPUTE_BOUND = 0.6
# Overhead limits decoding if it takes more than this share of a token's time.
_OVERHEAD = 0.15


@dataclass(frozen=True)
class Reading:
    """The bytes that one decoded token reads, and the seconds it takes."""

    bytes: float
    seconds: float


def add_bottleneck(
    ctx: RunContext, original: Original, chosen: Trial | None, trials: Sequence[Trial]
) -> None:
    """Set the figure `bandwidth_share` and the fact `bound` (a sentence) of the chosen trial of a language model."""
    if chosen is None:
        return
    rate = chosen.figures.get("decode_tokens_per_s")
    if ctx.model.kind != "language" or rate is None or rate.value is None or not chosen.bytes:
        return
    last = max(ctx.device.caches.values(), default=0)
    if ctx.workload.batch * ctx.workload.concurrency > 1:
        _set_missing(chosen, "concurrent requests share the weights that are read")
    elif ctx.model.experts:
        _set_missing(chosen, "a token reads only some of the experts, and their bytes are not counted")
    elif chosen.bytes < roofline.CACHED * last:
        fits = (
            f"its weights ({chosen.bytes / 1e6:.1f} MB) fit the processor's caches ({last / 2**20:.0f} MiB)"
        )
        _set_missing(chosen, f"{fits}, so memory bandwidth does not limit decoding")
    else:
        ctx.emit(Event("", detail="measuring the memory bandwidth that decoding uses"))
        bandwidth = Figure.from_json(ctx.target_executor.call("edgehone.execution.executor:bandwidth"))
        if bandwidth.value is None:
            _set_missing(chosen, str(bandwidth.reason))
        else:
            _set_share(ctx, original, chosen, trials, bandwidth.value)


def has_bandwidth_share(trial: Trial) -> bool:
    """Return True if the trial's bandwidth share was measured."""
    share = trial.figures.get("bandwidth_share")
    return share is not None and share.value is not None


def _set_missing(chosen: Trial, reason: str) -> None:
    chosen.figures["bandwidth_share"] = Figure.missing(reason, "share")
    chosen.facts["bound"] = reason


def _set_share(
    ctx: RunContext, original: Original, chosen: Trial, trials: Sequence[Trial], bandwidth: float
) -> None:
    chosen_reading, rate = reading(ctx, chosen), chosen.figures["decode_tokens_per_s"]
    assert chosen_reading is not None
    scale = chosen_reading.bytes / (bandwidth * 1e9)
    value, low, high = (None if end is None else end * scale for end in (rate.value, rate.low, rate.high))
    chosen.figures["bandwidth_share"] = share = Figure(value, low, high, rate.n, "share")
    assert share.value is not None
    text = (
        f"decoding reads {chosen_reading.bytes / 1e6:.0f} MB per token, "
        f"{share.value:.0%} of the {bandwidth:.1f} GB/s that {ctx.device.threads} threads read"
    )
    if share.value < MEMORY_BOUND:
        of_backend = [t for t in trials if t.recipe.backend == chosen.recipe.backend and t.alive]
        readings = [one for trial in of_backend if (one := reading(ctx, trial))]
        text += (
            f"; {limiting_factors(chosen_reading, readings, _with_half_the_threads(ctx, original, chosen))}"
        )
    chosen.facts["bound"] = text.replace("%", " %")


def reading(ctx: RunContext, trial: Trial) -> Reading | None:
    """Return the bytes and seconds per decoded token of a trial; None before it is measured."""
    rate = trial.figures.get("decode_tokens_per_s")
    if rate is None or not rate.value or not trial.bytes:
        return None
    middle = ctx.workload.prompt_tokens + ctx.workload.generated_tokens // 2
    return Reading(roofline.read_bytes(trial.bytes, ctx.model, middle), 1 / rate.value)


def limiting_factors(chosen: Reading, readings: Sequence[Reading], halved: float | None) -> str:
    """Say what keeps decoding below the bandwidth. `halved` is its relative speed with half of the threads."""
    causes = []
    sizes = [one.bytes for one in readings]
    if len(readings) > 1 and max(sizes) >= _SIZE_RATIO * min(sizes):
        slope, rest = linear_regression(sizes, [one.seconds for one in readings])
        if slope > 0 and rest > _OVERHEAD * chosen.seconds:
            causes.append(
                f"overhead: {1e3 * rest:.2f} of {1e3 * chosen.seconds:.2f} ms per token do not depend on the bytes "
                f"(regression over {len(readings)} builds)"
            )
    if halved is not None and halved <= _COMPUTE_BOUND:
        causes.append(f"arithmetic: half of the threads decode at {halved:.0%} of the speed")
    if causes:
        return f"it is limited by {' and by '.join(causes)}"
    if halved is not None:
        return f"neither arithmetic (half of the threads decode at {halved:.0%} of the speed) nor overhead explains it"
    return "the limiting factor was not found"


def _with_half_the_threads(ctx: RunContext, original: Original, chosen: Trial) -> float | None:
    """Return the speed of decoding with half of the threads relative to all; None with a single thread."""
    threads = threads_of(chosen.recipe.settings, ctx.device)
    if threads < 2:
        return None
    ctx = replace(ctx, measurement_group="half of the threads")
    all_, half = (_rate(ctx, original, chosen, count) for count in (threads, threads // 2))
    # Half of an odd number of threads is rounded down; scale the ratio accordingly.
    return half / all_ * threads / (2 * (threads // 2)) if all_ and half else None


def _rate(ctx: RunContext, original: Original, chosen: Trial, threads: int) -> float | None:
    """Return the decoding speed in tokens/s with that many threads, from one round."""
    recipe = replace(chosen.recipe, settings={**chosen.recipe.settings, "threads": threads})
    trial = Trial(recipe, artifact=chosen.artifact)
    with guarded(ctx, trial):
        done = speed_rounds.speed_round(ctx, original, trial, 0, cold=False)
        speed_rounds.note_rounds(ctx, original, trial, [done.facts])
        return trial.figures["decode_tokens_per_s"].value
    return None
