"""Bound: what the chosen candidate's decoding is bound by, with the figures that say so.

A token of an answer reads every weight once, and the cache of keys and values. Where these do not fit the processor's
caches, memory sets the pace: the share of the measured read bandwidth that decoding reaches is then a figure of its own
(`bandwidth_share`). Below ENOUGH of it, something else holds it back, and two readings tell what: the time a token that
does not depend on the bytes (a line through the backend's builds), and what fewer threads would do.
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
from edgehone.optimize.evaluate import measure
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial, guarded
from edgehone.plan import roofline

# A decode that reads so much of the bandwidth is as good as memory allows: what the best of llama.cpp's types reach.
ENOUGH = 0.7
# Builds whose sizes differ by less give a line no slope worth the name.
_SPREAD = 1.2
# Half of the threads at no more than this share of the speed: what they compute sets the pace.
_SCALES = 0.6
# Above this share of a token's time, what does not depend on the bytes holds it back.
_OVERHEAD = 0.15


@dataclass(frozen=True)
class Reading:
    """A build's decoding: the bytes that a token reads, and the seconds it takes."""

    bytes: float
    seconds: float


def add_bottleneck(
    ctx: RunContext, original: Original, chosen: Trial | None, trials: Sequence[Trial]
) -> None:
    """Fill `figures["bandwidth_share"]` and `facts["bound"]` (a sentence) of the chosen trial of a language model."""
    if chosen is None:
        return
    rate = chosen.figures.get("decode_tokens_per_s")
    if ctx.model.kind != "language" or rate is None or rate.value is None or not chosen.bytes:
        return
    last = max(ctx.device.caches.values(), default=0)
    if ctx.workload.batch * ctx.workload.concurrency > 1:
        _say(chosen, Figure.missing("requests that are answered together share what is read", "share"))
    elif ctx.model.experts:
        _say(chosen, Figure.missing("a token reads some of the experts, and which is not counted", "share"))
    elif chosen.bytes < roofline.CACHED * last:
        fits = f"its weights ({chosen.bytes / 1e6:.1f} MB) lie in the processor's caches ({last / 2**20:.0f} MiB)"
        _say(chosen, Figure.missing(f"{fits}: memory does not bound its decoding", "share"))
    else:
        ctx.emit(Event("", detail="the memory's bandwidth, and how much of it decoding reads"))
        bandwidth = Figure.from_json(ctx.target_executor.call("edgehone.execution.executor:bandwidth"))
        if bandwidth.value is None:
            _say(chosen, Figure.missing(str(bandwidth.reason), "share"))
        else:
            _compare(ctx, original, chosen, trials, bandwidth.value)


def has_bandwidth_share(trial: Trial) -> bool:
    """Whether a trial's share of the bandwidth was read."""
    share = trial.figures.get("bandwidth_share")
    return share is not None and share.value is not None


def _say(chosen: Trial, share: Figure) -> None:
    chosen.figures["bandwidth_share"] = share
    chosen.facts["bound"] = str(share.reason)


def _compare(
    ctx: RunContext, original: Original, chosen: Trial, trials: Sequence[Trial], bandwidth: float
) -> None:
    own, rate = reading(ctx, chosen), chosen.figures["decode_tokens_per_s"]
    assert own is not None
    scale = own.bytes / (bandwidth * 1e9)
    value, low, high = (None if end is None else end * scale for end in (rate.value, rate.low, rate.high))
    chosen.figures["bandwidth_share"] = share = Figure(value, low, high, rate.n, "share")
    assert share.value is not None
    said = (
        f"decoding reads {own.bytes / 1e6:.0f} MB a token, {share.value:.0%} of the {bandwidth:.1f} GB/s that "
        f"{ctx.device.threads} threads read here"
    )
    if share.value < ENOUGH:
        of_backend = [t for t in trials if t.recipe.backend == chosen.recipe.backend and t.alive]
        readings = [found for trial in of_backend if (found := reading(ctx, trial))]
        said += f"; {held_back(own, readings, _with_half(ctx, original, chosen))}"
    chosen.facts["bound"] = said.replace("%", " %")


def reading(ctx: RunContext, trial: Trial) -> Reading | None:
    """What a trial's decoding tells; None before it is measured."""
    rate = trial.figures.get("decode_tokens_per_s")
    if rate is None or not rate.value or not trial.bytes:
        return None
    middle = ctx.workload.prompt_tokens + ctx.workload.generated_tokens // 2
    return Reading(roofline.read_bytes(trial.bytes, ctx.model, middle), 1 / rate.value)


def held_back(own: Reading, readings: Sequence[Reading], halved: float | None) -> str:
    """What keeps decoding below the bandwidth. `halved`: its speed with half of the threads, as a share of its own."""
    causes = []
    sizes = [one.bytes for one in readings]
    if len(readings) > 1 and max(sizes) >= _SPREAD * min(sizes):
        slope, rest = linear_regression(sizes, [one.seconds for one in readings])
        if slope > 0 and rest > _OVERHEAD * own.seconds:
            causes.append(
                f"overhead: {1e3 * rest:.2f} of {1e3 * own.seconds:.2f} ms a token do not depend on the bytes (a line "
                f"through {len(readings)} builds)"
            )
    if halved is not None and halved <= _SCALES:
        causes.append(f"arithmetic: with half of the threads it decodes {halved:.0%} as fast")
    elif halved is not None and not causes:
        causes.append(
            f"neither threads (half of them decode {halved:.0%} as fast) nor overhead, as far as was read"
        )
    return f"held back by {' and '.join(causes)}" if causes else "what holds it back was not found"


def _with_half(ctx: RunContext, original: Original, chosen: Trial) -> float | None:
    """The speed of decoding with half of the threads, as a share of that with all; None where there is no half."""
    threads = threads_of(chosen.recipe.settings, ctx.device)
    if threads < 2:
        return None
    ctx = replace(ctx, measurement_group="half of the threads")
    all_, half = (_rate(ctx, original, chosen, count) for count in (threads, threads // 2))
    # Of an odd number the half is too small by a part of a thread, which is made up for.
    return half / all_ * threads / (2 * (threads // 2)) if all_ and half else None


def _rate(ctx: RunContext, original: Original, chosen: Trial, threads: int) -> float | None:
    """Tokens/s of decoding with so many threads, in one round."""
    recipe = replace(chosen.recipe, settings={**chosen.recipe.settings, "threads": threads})
    trial = Trial(recipe, artifact=chosen.artifact)
    with guarded(ctx, trial):
        done = measure.speed_round(ctx, original, trial, 0, cold=False)
        measure.note_rounds(ctx, original, trial, [done.facts])
        return trial.figures["decode_tokens_per_s"].value
    return None
