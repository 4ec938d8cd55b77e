"""Choose the best candidate by weights among those that pass every gate, or find the nearest miss.

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
from edgehone.decision.decision import Candidate
from edgehone.inputs.workload import OBJECTIVES

# Sizes within this factor are equal: files of the same format differ by less through headers and names alone.
SAME_SIZE = 1.01
# The most candidates that the reason names one by one.
MOST_NAMED = 3


@dataclass(frozen=True)
class Choice:
    """The chosen key, the reason in a sentence, and the score of each scored candidate with its interval."""

    key: str
    reason: str
    scores: Mapping[str, Figure]


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


def choose(
    candidates: Sequence[Candidate], weights: Mapping[str, float], original: Candidate | None = None
) -> Choice | None:
    """Return the best candidate that passes every gate, or None if none passes or none can be scored.

    Of the candidates whose score ties with the best (`Figure.ties`) the smallest in bytes wins. Sizes within 1 % are
    equal; among them the best score wins. `original` limits what a missing objective counts as. An objective that all
    candidates lack is left out, and the reason says so.
    """
    return best_of([c for c in candidates if c.passes], weights, original)


def best_of(
    passing: Sequence[Candidate],
    weights: Mapping[str, float],
    original: Candidate | None = None,
    shared: str = "passes every gate",
) -> Choice | None:
    """Return the best of the candidates by the weights, None if none can be scored.

    The rules are those of `choose`. `shared` says in the reason what the candidates have in common.
    """
    objectives = {c.key: logarithms(c) for c in passing}
    weighted = [name for name in OBJECTIVES if weights.get(name, 0.0) > 0]
    used = [name for name in weighted if any(logs[name] is not None for logs in objectives.values())]
    floor = logarithms(original) if original else {}
    completed = _completed(objectives, used, main_objective(weights), floor)
    scores = _scores(completed.objectives, {name: weights[name] for name in used})
    if not scores or not used:
        return None
    by_key = {c.key: c for c in passing}
    lacking = {key for keys in completed.assumed.values() for key in keys}
    # By score; of equal scores the measured ones first, then by key: the order of the candidates does not matter.
    ranked = sorted(scores, key=lambda key: (-(scores[key].value or 0.0), key in lacking, key))
    best = ranked[0]
    ties = [key for key in ranked if key == best or scores[key].ties(scores[best])]
    smallest = min(_bytes(by_key[key]) for key in ties)
    # `ties` is ordered by score, so this is the best of those of equal size.
    winner = next(key for key in ties if _bytes(by_key[key]) <= SAME_SIZE * smallest)
    dropped = [name for name in weighted if name not in used]
    others = [key for key in (ties if len(ties) > 1 else ranked) if key != winner]
    other = by_key[others[0]] if others else None
    by_rate = "speed" not in compared(weights)
    against = f"no other candidate {shared}"
    if other is not None:
        against = _against(by_key[winner], other, len(ties) > 1, by_rate)
    reason = _reason(by_key[winner], "; ".join([against, *_unmeasured(dropped, completed)]), shared)
    return Choice(winner, reason, scores)


def contenders(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates eligible for selection.

    Candidates eliminated in the race are excluded if any remaining candidate passes all gates. The race compares paired
    rounds and windows, which is more precise than comparing the intervals of separate measurements.
    """
    raced = [c for c in candidates if "raced_out" not in c.facts]
    return raced if any(c.passes for c in raced) else list(candidates)


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


def _bytes(candidate: Candidate) -> float:
    return math.inf if candidate.bytes is None else candidate.bytes


def _speed_logs(candidate: Candidate) -> Logs | None:
    latency = candidate.figure("workload_latency_ms")
    return _negated(_speedup_logs(candidate)) if latency.predicted else _inverse(latency)


def _throughput_logs(candidate: Candidate) -> Logs | None:
    rate = candidate.figure("requests_per_s")
    return _negated(_speedup_logs(candidate) if rate.predicted else _inverse(rate))


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


def _completed(
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


def _scores(objectives: Mapping[str, Mapping[str, Logs]], weights: Mapping[str, float]) -> dict[str, Figure]:
    """Return the weighted sums of ln(candidate / best).

    Their intervals add in quadrature: the passes are independent.
    """
    best = {name: max((logs[name].value for logs in objectives.values()), default=0.0) for name in weights}
    scores: dict[str, Figure] = {}
    for key, parts in objectives.items():
        total = sum(weights[n] * (entry.value - best[n]) for n, entry in parts.items())
        down = math.hypot(*(weights[n] * entry.down for n, entry in parts.items()))
        up = math.hypot(*(weights[n] * entry.up for n, entry in parts.items()))
        scores[key] = Figure(total, total - down, total + up, n=1, unit="score")
    return scores


def _reason(winner: Candidate, against: str, shared: str) -> str:
    """Return a sentence with the winner's figures and its comparison with the next best candidate."""
    parts = [part for part in (_speed(winner), _memory(winner), _kept(winner)) if part]
    return f"{winner.key}: " + (", ".join(parts) or shared) + f"; {against}."


def _unmeasured(dropped: Sequence[str], completed: Completed) -> list[str]:
    """Return what was not measured, and how it counts."""
    parts = []
    if dropped:
        parts.append(f"{' and '.join(dropped)} could not be compared (no candidate has the figure)")
    for name, keys in completed.assumed.items():
        parts.append(f"{name} was not measured for {_listed(keys)} and counts as the worst that was measured")
    for name, keys in completed.left_out.items():
        parts.append(f"{_listed(keys)} not compared, since {name} was not measured")
    return parts


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys) if len(keys) <= MOST_NAMED else f"{len(keys)} candidates"


def _speed(candidate: Candidate) -> str | None:
    speedup = candidate.figure("speedup")
    if speedup.value is None:
        return None
    if f"{speedup.value:.3g}" == "1":
        return "as fast as the original"
    if speedup.value < 1:
        return f"{1 / speedup.value:.3g}× slower than the original"
    return f"{speedup.value:.3g}× faster than the original{_between(speedup, '.3g', 1)}"


def _memory(candidate: Candidate) -> str | None:
    cut = candidate.figure("memory_cut")
    if cut.value is None:
        return None
    if f"{cut.value:.0%}" in ("0%", "-0%"):
        return "as much memory"
    return f"{abs(cut.value):.0%} {'less' if cut.value >= 0 else 'more'} memory".replace("%", " %")


def _kept(candidate: Candidate) -> str | None:
    kept = candidate.figure("accuracy_kept")
    if kept.value is None:
        return None
    return f"keeps {100 * kept.value:.1f} %{_between(kept, '.1f', 100)} of its accuracy"


def _between(figure: Figure, form: str, scale: float) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f" ({figure.low * scale:{form}}–{figure.high * scale:{form}})"


def _against(winner: Candidate, other: Candidate, tied: bool, by_rate: bool) -> str:
    name, unit = ("requests_per_s", "requests/s") if by_rate else ("workload_latency_ms", "ms")
    pair = winner.figure(name).value, other.figure(name).value
    speeds = "" if None in pair else f" ({pair[0]:.4g} {unit} against {pair[1]:.4g} {unit} on the workload)"
    if not tied:
        return f"beats {other.key}{speeds} by the workload's weights"
    sizes = ""
    if _bytes(other) <= SAME_SIZE * _bytes(winner):
        return f"within the intervals of {other.key}{speeds}, of the same size, and better by the workload's weights"
    if winner.bytes is not None and other.bytes is not None:
        sizes = f" ({winner.bytes / 1e6:.1f} MB against {other.bytes / 1e6:.1f} MB)"
    return f"within the intervals of {other.key}{speeds}, and chosen as the smaller{sizes}"
