"""Predict: what was proven and measured here, as it would be on another device; labelled as predictions.

Each candidate's own shares of this machine's bandwidth and compute are carried to the target (`plan.calibration`), the
baseline's likewise, so that the gates compare like with like. Errors that the device's papers bring hit the baseline
and a candidate alike: they cancel in `speedup`. What was measured here stays in `facts["measured_here"]`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgehone.core.figure import Figure
from edgehone.decision.requirements import Gate, Requirements, shipped
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate.measure import UNITS
from edgehone.optimize.original import Original
from edgehone.optimize.predict.target import here, known
from edgehone.optimize.trial import Trial
from edgehone.plan import calibration, roofline, roofline_data
from edgehone.plan.calibration import Observation
from edgehone.plan.recommend import obstacle
from edgehone.plan.roofline import Demand, Time
from edgehone.plan.target import PredictionTarget

# What is told of another device; every other figure of the measuring stage is missing for it.
PREDICTED = (
    "ttft_ms",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "workload_latency_ms",
    "requests_per_s",
    "tokens_per_s_total",
    "peak_memory_bytes",
)


@dataclass(frozen=True)
class _Ground:
    """What all predictions of a run stand on."""

    ctx: RunContext
    target: PredictionTarget
    asked: Demand | None
    seen: Sequence[Observation]  # measured on this machine, in this run and before
    own: dict[str, Observation]  # of this run, by the recipe's key


def required_of(target: PredictionTarget, required: Requirements) -> tuple[Requirements, list[str]]:
    """The requirements for a target: its memory and size budget as gates; and notes on the default gates that no
    prediction tells of, which are set aside."""
    gates = []
    notes = []
    for gate in required.gates:
        default = shipped()["gates"].get(gate.name, {}).get("threshold") == gate.threshold
        if gate.figure in UNITS and gate.figure not in PREDICTED and default:
            notes.append(f"{gate.name} is not judged: {gate.figure} of {target.name} cannot be predicted")
        else:
            gates.append(gate)
    if target.size_budget_bytes:
        gates.append(Gate("size_budget", "bytes", "<=", float(target.size_budget_bytes), "value"))
    if target.memory_bytes:
        gates.append(Gate("device_memory", "peak_memory_bytes", "<=", float(target.memory_bytes), "high"))
    return replace(required, gates=tuple(gates)), notes


def skip_oversized(ctx: RunContext, trials: Sequence[Trial]) -> None:
    """Skip what cannot fit the target even at the prediction's better end; exact recipes prove their backends."""
    target = ctx.prediction_target
    for trial in trials:
        size = roofline.predicted_bytes(trial.recipe, ctx.model)
        memory = roofline.predicted_memory(trial.recipe.backend, size, ctx.model, ctx.workload)
        if target and not trial.recipe.exact and (reason := obstacle(size, memory, target)):
            trial.drop("skipped", f"not built: {reason}")


def predict(ctx: RunContext, original: Original, trials: Sequence[Trial]) -> list[str]:
    """Replace the measured figures of the baseline and of every living trial by predictions for the bench's target.

    Returns notes for the report: whose figures they are, and how far predictions were off on this machine.
    """
    assert ctx.prediction_target is not None
    at = here(ctx.device)
    living = [trial for trial in [original.baseline, *trials] if trial.alive]
    asked = roofline.workload_demand(ctx.model, ctx.workload)
    own = {trial.recipe.key: one for trial in living if (one := seen_of(trial, asked, at))}
    # The history holds this run's candidates by now, and those of earlier runs; not the baseline.
    found_here = [*known(ctx.device, at, None).observations]
    if first := own.get(original.baseline.recipe.key):
        found_here.append(first)
    ground = _Ground(ctx, ctx.prediction_target.relative_to(at), asked, found_here, own)
    found = {trial.recipe.key: _predict(ground, trial) for trial in living}
    baseline = found[original.baseline.recipe.key]
    for trial in trials:
        if trial.alive:
            _compare(trial, found[trial.recipe.key], original.baseline, baseline)
    notes = [
        f"speed and memory are predicted for {ctx.prediction_target.name}, not measured; quality and size are proven here"
    ]
    if asked and (
        told := calibration.describe_errors(calibration.leave_one_out(list(own.values()), asked, at))
    ):
        notes.append(f"predictions of this machine itself: {told}")
    return notes


def with_predictions(
    ctx: RunContext, original: Original, trials: Sequence[Trial]
) -> tuple[Trial, list[Trial]]:
    """Copies of the baseline and of `trials`, with predictions in place of what was measured of them so far."""
    first, *rest = (
        replace(one, figures=dict(one.figures), facts=dict(one.facts)) for one in (original.baseline, *trials)
    )
    predict(ctx, replace(original, baseline=first), rest)
    return first, rest


def seen_of(trial: Trial, asked: Demand | None, at: PredictionTarget) -> Observation | None:
    """What a trial that was measured on this machine reached of it; None where it was not."""
    if asked is None:
        return None
    rate, first = (trial.figures.get(name) for name in ("decode_tokens_per_s", "ttft_ms"))
    return calibration.observe(
        asked,
        trial.recipe.backend,
        trial.recipe.bits,
        size=trial.bytes,
        decode=rate.value if rate else None,
        ttft_ms=first.value if first else None,
        here=at,
    )


def _predict(ground: _Ground, trial: Trial) -> Time | Figure:
    """Replace a trial's figures; returns the whole request's time, or why it is missing."""
    target, measured = ground.target, dict(trial.figures)
    kept = {name: measured[name].to_json() for name in PREDICTED if name in measured and measured[name].value}
    trial.facts["measured_here"] = kept
    reason = f"not predicted for {target.name}: it is read where it runs"
    trial.figures.update({name: Figure.missing(reason, unit) for name, unit in UNITS.items()})
    trial.figures["peak_memory_bytes"] = _memory(ground, trial, measured.get("peak_memory_bytes"))
    if ground.asked is None:
        whole = _call(ground, trial, measured.get("workload_latency_ms"))
    else:
        whole = _request(ground, trial, ground.asked)
    if isinstance(whole, Figure):
        for name in PREDICTED[:-1]:
            if trial.figures[name].value is None:
                trial.figures[name] = Figure.missing(str(whole.reason), UNITS[name])
    else:
        trial.figures["workload_latency_ms"] = whole.figure("ms", 1e3)
        work = ground.ctx.workload
        if not work.frames_per_s:  # a stream sets its own pace
            each = Figure.prediction(work.sequences / whole.seconds, whole.factor, "requests/s")
            trial.figures["requests_per_s"] = each
            if work.generated_tokens:
                total = work.sequences * work.generated_tokens / whole.seconds
                trial.figures["tokens_per_s_total"] = Figure.prediction(total, whole.factor, "tokens/s")
        trial.facts["predicted_bound"] = whole.bottleneck
    return whole


def _request(ground: _Ground, trial: Trial, asked: Demand) -> Time | Figure:
    """Prefill and decode, filled in; the whole request."""
    recipe, size = trial.recipe, float(trial.bytes or 0)
    precision = roofline.precision_of(recipe.bits or 8 * size / asked.parameters)
    reached = calibration.shares(ground.seen, recipe.backend, precision, ground.own.get(recipe.key))
    trial.facts["predicted_from"] = reached.source
    on = ground.target.for_backend(recipe.backend)
    token = roofline.token_time(asked, precision, size, reached, on)
    if isinstance(token, Figure):
        return token
    if asked.generated_tokens > 1:
        trial.figures["decode_tokens_per_s"] = token.rate(1)
    prompt = roofline.prompt_time(asked, precision, reached, on, token)
    if isinstance(prompt, Figure):
        return prompt
    trial.figures["ttft_ms"] = prompt.figure("ms", 1e3)
    if ground.ctx.workload.concurrency == 1:  # else it holds the waiting for others
        trial.figures["prefill_tokens_per_s"] = prompt.rate(asked.prompt_tokens * asked.sequences)
    return prompt.plus(token, max(0, asked.generated_tokens - 1))


def _call(ground: _Ground, trial: Trial, latency: Figure | None) -> Time | Figure:
    """A graph's request: its time here, by how much slower a core of the target is."""
    if latency is None or latency.value is None:
        return Figure.missing(latency.reason if latency and latency.reason else "not measured here", "ms")
    own = max(latency.factor, float(roofline_data.table()["error"]["own"]))
    return Time(latency.value / 1e3 * ground.target.slower, own, ground.target.slower_error, "calls")


def _memory(ground: _Ground, trial: Trial, peak: Figure | None) -> Figure:
    """Weights and cache, which do not change from device to device, and the runtime, which may."""
    ctx = ground.ctx
    size = Figure(float(trial.bytes or 0), n=1, unit="bytes")
    if peak is None or peak.value is None:
        return roofline.predicted_memory(trial.recipe.backend, size, ctx.model, ctx.workload)
    tokens = ctx.workload.context * ctx.workload.sequences
    fixed = (trial.bytes or 0) + (roofline.cache_bytes(ctx.model, tokens) or 0)
    runtime = max(peak.value - fixed, 0.0)
    spread = float(roofline_data.table()["runtime_bytes"]["spread"])
    low, high = (peak.value - runtime + runtime * factor for factor in (1 / spread, spread))
    return Figure(peak.value, low, high, 0, "bytes", "predicted")


def _compare(trial: Trial, time: Time | Figure, baseline: Trial, other: Time | Figure) -> None:
    """The speed-up: what hits both alike cancels, so only the runtimes' own errors are left."""
    if isinstance(time, Time) and isinstance(other, Time):
        factor = math.exp(math.hypot(math.log(time.runtime_error), math.log(other.runtime_error)))
        trial.figures["speedup"] = Figure.prediction(other.seconds / time.seconds, factor, "×")
