"""The objectives of a candidate as logarithms, of which its score is made.

A candidate's score is the weighted sum of the logarithms of its ratios to the best candidate in each objective:
    speed    1 / workload_latency_ms (the predicted speedup where the latency is a prediction for another device)
    throughput  requests_per_s, of all clients together
    quality  min(accuracy_kept, 1) · exp(-kl_mean): the share of correct tokens that is kept, times the mean factor by
             which the text's likelihood under the original falls (a product, so that its logarithm is a sum);
             for outputs that are not probabilities, half the squared relative error of the worst output takes the
             place of the divergence: near the original it is 1 - cosine
    memory   1 / peak_memory_bytes
    size     1 / bytes
The best possible score is 0. A weight is an exchange rate: doubling the speed adds ln 2 times the weight of speed.

An objective that was not measured for a candidate counts as the worst that was measured among the candidates and the
original, so a missing figure is never an advantage, and the reason names it. Speed is the exception: a candidate whose
speed (or throughput, if that is compared instead) is unknown is not chosen while that of another is known, since it can
be slower than all others by any factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgehone.core.figure import Figure
from edgehone.decision import pairs
from edgehone.decision.decision import Candidate
from edgehone.inputs.workload import OBJECTIVES


@dataclass(frozen=True)
class Logs:
    """Logarithm of an objective, more is better. `down` and `up` are the distances to the ends of its interval."""

    value: float
    down: float
    up: float


Objectives = Mapping[str, Logs | None]


@dataclass(frozen=True)
class Completed:
    """The objectives that are compared, without gaps.

    `assumed` are the keys of the candidates for which an objective counts as the worst, by objective; `left_out` those
    of the candidates that are not compared because the objective is missing.
    """

    objectives: Mapping[str, Mapping[str, Logs]]
    assumed: Mapping[str, Sequence[str]]
    left_out: Mapping[str, Sequence[str]]


def objectives(candidate: Candidate) -> dict[str, float | None]:
    """Return the logarithm of each objective (more is better), None where it is missing."""
    return {name: None if entry is None else entry.value for name, entry in logarithms(candidate).items()}


def compared(weights: Mapping[str, float]) -> tuple[str, ...]:
    """Return the objectives of the frontier: all but one of speed and throughput, which measure the same property.

    Throughput is used if it has a weight and speed has none, otherwise speed.
    """
    left_out = "throughput" if main_objective(weights) == "speed" else "speed"
    return tuple(name for name in OBJECTIVES if name != left_out)


def main_objective(weights: Mapping[str, float]) -> str:
    """Return "throughput" if it has a weight and speed has none, otherwise "speed"."""
    return "throughput" if weights.get("throughput") and not weights.get("speed") else "speed"


def logarithms(candidate: Candidate) -> dict[str, Logs | None]:
    """Return the logarithm of each objective with its interval, None where it is missing. Scores are made of these."""
    size = None if not candidate.bytes else Logs(-math.log(candidate.bytes), 0.0, 0.0)
    return {
        "speed": _speed_logs(candidate),
        "throughput": _throughput_logs(candidate),
        "quality": _quality(candidate.figure("accuracy_kept"), _loss(candidate)),
        "memory": _inverse(candidate.figure("peak_memory_bytes")),
        "size": size,
    }


def _speed_logs(candidate: Candidate) -> Logs | None:
    latency = candidate.figure("workload_latency_ms")
    if latency.predicted:
        return _negated(_speedup_logs(candidate))
    return _over_rounds(candidate, "speed", _inverse(latency))


def _throughput_logs(candidate: Candidate) -> Logs | None:
    rate = candidate.figure("requests_per_s")
    if rate.predicted:
        return _negated(_speedup_logs(candidate))
    return _negated(_over_rounds(candidate, "throughput", _inverse(rate)))


def _over_rounds(candidate: Candidate, objective: str, logs: Logs | None) -> Logs | None:
    """Return the logarithm with the interval over the rounds of the run, if they are known."""
    half = pairs.within_run(candidate, objective)
    return logs if logs is None or half is None else Logs(logs.value, half, half)


def _speedup_logs(candidate: Candidate) -> Logs | None:
    """Return the negative logarithm of the speedup.

    Predictions for another device are compared by their ratio to the original, which does not contain the device's own
    error, since that affects all candidates equally.
    """
    return _inverse(candidate.figure("speedup"))


def _inverse(figure: Figure) -> Logs | None:
    """Return ln(1 / figure). An end of the interval that is missing, or not above 0, is replaced by the value."""
    if figure.value is None or not 0 < figure.value < math.inf:
        return None
    low = figure.low if figure.low is not None and figure.low > 0 else figure.value
    high = figure.high if figure.high is not None else figure.value
    return Logs(-math.log(figure.value), math.log(high / figure.value), math.log(figure.value / low))


def _negated(logs: Logs | None) -> Logs | None:
    return None if logs is None else Logs(-logs.value, logs.up, logs.down)


def _loss(candidate: Candidate) -> Figure:
    """Return the divergence, or half the squared relative error where the outputs are not probabilities."""
    kl, error = candidate.figure("kl_mean"), candidate.figure("relative_error")
    if kl.value is not None or error.value is None:
        return kl
    low, high = (None if end is None else end**2 / 2 for end in (error.low, error.high))
    return Figure(error.value**2 / 2, low, high, error.n, "")


def _quality(kept: Figure, kl: Figure) -> Logs | None:
    if kept.value is None or kl.value is None or not kept.value > 0 or math.isnan(kl.value):
        return None
    share = min(kept.value, 1.0)
    low = min(kept.low, share) if kept.low is not None and kept.low > 0 else share
    high = max(min(kept.high, 1.0), share) if kept.high is not None else share
    kl_low = kl.low if kl.low is not None else kl.value
    kl_high = kl.high if kl.high is not None else kl.value
    down = math.hypot(math.log(share / low), kl_high - kl.value)
    up = math.hypot(math.log(high / share), kl.value - kl_low)
    return Logs(math.log(share) - kl.value, down, up)


def completed_of(
    objectives: Mapping[str, Objectives], names: Sequence[str], main: str, floor: Objectives
) -> Completed:
    """Return the objectives `names` of each candidate; see the module's docstring for those that are missing.

    `floor` are the objectives of the original, empty if it is not known.
    """
    worst: dict[str, Logs] = {}
    for name in names:
        known = [
            entry.value for logs in (*objectives.values(), floor) if (entry := logs.get(name)) is not None
        ]
        worst[name] = Logs(min(known), 0.0, 0.0)
    assumed: dict[str, list[str]] = {}
    left_out: dict[str, list[str]] = {}
    complete = {}
    for key, logs in sorted(objectives.items()):
        missing = [name for name in names if logs[name] is None]
        if main in missing:
            left_out.setdefault(main, []).append(key)
            continue
        for name in missing:
            assumed.setdefault(name, []).append(key)
        complete[key] = {name: logs[name] or worst[name] for name in names}
    return Completed(complete, assumed, left_out)
