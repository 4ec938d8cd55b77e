"""Predict the figures of candidates on another device from measurements on this machine.

Each candidate reaches certain shares of this machine's bandwidth and compute. The prediction assumes that it reaches
the same shares of the target's (`plan.calibration`). The baseline is predicted in the same way, so that gates compare
predictions with predictions. Errors of the target's specification affect baseline and candidate alike and cancel in
`speedup`. The measurements on this machine stay in `facts["measured_here"]`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgehone.core.figure import Figure
from edgehone.decision.requirements import Gate, Requirements, shipped
from edgehone.model.kv_cache import cache_bytes
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate.measure import UNITS
from edgehone.optimize.original import Original
from edgehone.optimize.predict.target import known_about, this_machine
from edgehone.optimize.trial import Trial
from edgehone.plan import calibration, roofline, roofline_data
from edgehone.plan.calibration import Observation
from edgehone.plan.expect import obstacle
from edgehone.plan.roofline import Demand, Time
from edgehone.plan.target import PredictionTarget

# The figures predicted for another device; all other measured figures are missing for it.
PREDICTED = (
    "ttft_ms",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "workload_latency_ms",
    "requests_per_s",
    "tokens_per_s_total",
    "peak_memory_bytes",
    "added_memory_bytes",
)


# Memory that a model adds to its runtime differs by less than this factor between machines: working memory depends on
# the kernels, weights and caches do not.
ADDED_ERROR = 1.2


@dataclass(frozen=True)
class _Basis:
    """The data from which all predictions of a run are made."""

    ctx: RunContext
    target: PredictionTarget
    demand: Demand | None
    observations: Sequence[Observation]  # on this machine, in this run and earlier ones
    observed: dict[str, Observation]  # those of this run, by the recipe's key


def required_of(target: PredictionTarget, required: Requirements) -> tuple[Requirements, list[str]]:
    """Adapt the requirements to a target: add gates for its memory and size budget, drop gates on unpredicted figures.

    Returns them with a note for each dropped gate. Gates that the user changed are kept.
    """
    gates = []
    notes = []
    for gate in required.gates:
        default = shipped()["gates"].get(gate.name, {}).get("threshold") == gate.threshold
        if gate.figure in UNITS and gate.figure not in PREDICTED and default:
            notes.append(
                f"the gate {gate.name} is dropped: {gate.figure} on {target.name} cannot be predicted"
            )
        else:
            gates.append(gate)
    if target.size_budget_bytes:
        gates.append(Gate("size_budget", "bytes", "<=", float(target.size_budget_bytes), "value"))
    if target.memory_bytes:
        gates.append(Gate("device_memory", "peak_memory_bytes", "<=", float(target.memory_bytes), "high"))
    return replace(required, gates=tuple(gates)), notes


def skip_oversized(ctx: RunContext, trials: Sequence[Trial]) -> None:
    """Skip recipes that cannot fit the target even at the lower end of the prediction.

    Exact recipes are kept, since the parity check needs them.
    """
    target = ctx.prediction_target
    for trial in trials:
        size = roofline.predicted_bytes(trial.recipe, ctx.model)
        memory = roofline.predicted_memory(trial.recipe.backend, size, ctx.model, ctx.workload)
        if target and not trial.recipe.exact and (reason := obstacle(size, memory, target)):
            trial.drop("skipped", f"not built: {reason}")


def predict(ctx: RunContext, original: Original, trials: Sequence[Trial]) -> list[str]:
    """Replace the measured figures of the baseline and of every trial that is alive by predictions for the target.

    Returns notes for the report: the device that the figures are predicted for, and the prediction error on this
    machine.
    """
    assert ctx.prediction_target is not None
    machine = this_machine(ctx.device)
    living = [trial for trial in [original.baseline, *trials] if trial.alive]
    demand = roofline.workload_demand(ctx.model, ctx.workload)
    observed = {trial.recipe.key: one for trial in living if (one := observation_of(trial, demand, machine))}
    # The history contains the candidates of this run and of earlier ones, but not the baseline.
    observations = [*known_about(ctx.device, machine, None).observations]
    if first := observed.get(original.baseline.recipe.key):
        observations.append(first)
    basis = _Basis(ctx, ctx.prediction_target.relative_to(machine), demand, observations, observed)
    predicted = {trial.recipe.key: _predict(basis, trial) for trial in living}
    baseline = predicted[original.baseline.recipe.key]
    for trial in trials:
        if trial.alive:
            _compare(trial, predicted[trial.recipe.key], original.baseline, baseline)
    notes = [
        f"speed and memory are predicted for {ctx.prediction_target.name}, not measured; "
        "quality and size are proven on this machine"
    ]
    if demand and (
        told := calibration.describe_errors(
            calibration.leave_one_out(list(observed.values()), demand, machine)
        )
    ):
        notes.append(f"predictions for this machine itself: {told}")
    return notes


def with_predictions(
    ctx: RunContext, original: Original, trials: Sequence[Trial]
) -> tuple[Trial, list[Trial]]:
    """Return copies of the baseline and of `trials` in which predictions replace the measurements so far."""
    first, *rest = (
        replace(one, figures=dict(one.figures), facts=dict(one.facts)) for one in (original.baseline, *trials)
    )
    predict(ctx, replace(original, baseline=first), rest)
    return first, rest


def observation_of(trial: Trial, demand: Demand | None, machine: PredictionTarget) -> Observation | None:
    """Return the shares of this machine's bandwidth and compute that a trial reached; None if it was not measured."""
    if demand is None:
        return None
    rate, first = (trial.figures.get(name) for name in ("decode_tokens_per_s", "ttft_ms"))
    return calibration.observe(
        demand,
        trial.recipe.backend,
        trial.recipe.bits,
        size=trial.bytes,
        decode=rate.value if rate else None,
        ttft_ms=first.value if first else None,
        here=machine,
    )


def _predict(basis: _Basis, trial: Trial) -> Time | Figure:
    """Replace a trial's figures. Returns the time of a whole request, or a missing figure with the reason."""
    target, measured = basis.target, dict(trial.figures)
    kept = {name: measured[name].to_json() for name in PREDICTED if name in measured and measured[name].value}
    trial.facts["measured_here"] = kept
    reason = f"not predicted for {target.name}: it can only be measured on the device"
    trial.figures.update({name: Figure.missing(reason, unit) for name, unit in UNITS.items()})
    trial.figures["peak_memory_bytes"] = _memory(basis, trial, measured.get("peak_memory_bytes"))
    added = measured.get("added_memory_bytes")
    if added is not None and added.value is not None:  # what the model adds, the same on every device
        trial.figures["added_memory_bytes"] = Figure.prediction(added.value, ADDED_ERROR, "bytes")
    if basis.demand is None:
        whole = _call(basis, trial, measured.get("workload_latency_ms"))
    else:
        whole = _request(basis, trial, basis.demand)
    if isinstance(whole, Figure):
        for name in PREDICTED[:-2]:
            if trial.figures[name].value is None:
                trial.figures[name] = Figure.missing(str(whole.reason), UNITS[name])
    else:
        trial.figures["workload_latency_ms"] = whole.figure("ms", 1e3)
        work = basis.ctx.workload
        if not work.frames_per_s:  # a stream's rate is fixed by its frame rate
            each = Figure.prediction(work.sequences / whole.seconds, whole.factor, "requests/s")
            trial.figures["requests_per_s"] = each
            if work.generated_tokens:
                total = work.sequences * work.generated_tokens / whole.seconds
                trial.figures["tokens_per_s_total"] = Figure.prediction(total, whole.factor, "tokens/s")
        trial.facts["predicted_bound"] = whole.bottleneck
    return whole


def _request(basis: _Basis, trial: Trial, demand: Demand) -> Time | Figure:
    """Set the prefill and decode figures; return the time of the whole request."""
    recipe, size = trial.recipe, float(trial.bytes or 0)
    precision = roofline.precision_of(recipe.bits or 8 * size / demand.parameters)
    reached = calibration.shares(
        basis.observations, recipe.backend, precision, basis.observed.get(recipe.key)
    )
    trial.facts["predicted_from"] = reached.source
    on = basis.target.for_backend(recipe.backend)
    token = roofline.token_time(demand, precision, size, reached, on)
    if isinstance(token, Figure):
        return token
    if demand.generated_tokens > 1:
        trial.figures["decode_tokens_per_s"] = token.rate(1)
    prompt = roofline.prompt_time(demand, precision, reached, on, token)
    if isinstance(prompt, Figure):
        return prompt
    trial.figures["ttft_ms"] = prompt.figure("ms", 1e3)
    if (
        basis.ctx.workload.concurrency == 1
    ):  # otherwise the time to first token includes waiting for other requests
        trial.figures["prefill_tokens_per_s"] = prompt.rate(demand.prompt_tokens * demand.sequences)
    return prompt.plus(token, max(0, demand.generated_tokens - 1))


def _call(basis: _Basis, trial: Trial, latency: Figure | None) -> Time | Figure:
    """Return the time of a graph's request: its time here times the slowdown of a core of the target."""
    if latency is None or latency.value is None:
        return Figure.missing(latency.reason if latency and latency.reason else "not measured here", "ms")
    error = max(latency.factor, float(roofline_data.table()["error"]["own"]))
    return Time(latency.value / 1e3 * basis.target.slower, error, basis.target.slower_error, "calls")


def _memory(basis: _Basis, trial: Trial, peak: Figure | None) -> Figure:
    """Predict the peak memory: weights and KV cache are the same on every device, the runtime's own memory may vary."""
    ctx = basis.ctx
    size = Figure(float(trial.bytes or 0), n=1, unit="bytes")
    if peak is None or peak.value is None:
        return roofline.predicted_memory(trial.recipe.backend, size, ctx.model, ctx.workload)
    caches = ctx.workload.sequences * (cache_bytes(ctx.model, ctx.workload.context) or 0)
    fixed = (trial.bytes or 0) + caches
    runtime = max(peak.value - fixed, 0.0)
    spread = float(roofline_data.table()["runtime_bytes"]["spread"])
    low, high = (peak.value - runtime + runtime * factor for factor in (1 / spread, spread))
    return Figure(peak.value, low, high, 0, "bytes", "predicted")


def _compare(trial: Trial, time: Time | Figure, baseline: Trial, other: Time | Figure) -> None:
    """Set the speed-up. Errors common to both predictions cancel, so only the runtimes' own errors remain."""
    if isinstance(time, Time) and isinstance(other, Time):
        factor = math.exp(math.hypot(math.log(time.runtime_error), math.log(other.runtime_error)))
        trial.figures["speedup"] = Figure.prediction(other.seconds / time.seconds, factor, "×")
