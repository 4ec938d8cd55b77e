"""Choose the best candidate by weights among those that pass every gate.

The score of a candidate is made of its objectives (`decision.objectives`). Two candidates tie if the difference of
their scores is certainly small: its interval lies within what a few per cent of speed are worth (the indifference of
data/requirements.toml). Then the smaller one wins. The interval is that of the speed in paired rounds
(`decision.pairs`): speed is what varies from run to run, while quality, memory and size were compared on the same text
and files. Where the interval is wider, the better score wins, and the reason says that the rounds do not separate the
two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgehone.core.figure import Figure
from edgehone.decision import pairs, reasons
from edgehone.decision.decision import Candidate
from edgehone.decision.objectives import Completed, Logs, completed_of, logarithms, main_objective
from edgehone.decision.requirements import shipped
from edgehone.inputs.workload import OBJECTIVES


@dataclass(frozen=True)
class Choice:
    """The chosen key, the reason in a sentence, and the score of each scored candidate with its interval.

    `tied` are the keys that tie with the best: that of the highest score, unless another is certainly ahead of it in
    paired rounds. It comes first, the others in the order of their scores.
    """

    key: str
    reason: str
    scores: Mapping[str, Figure]
    tied: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gap:
    """How far one candidate is ahead of another in score, with the interval of their speeds; `band` is indifference."""

    value: float
    low: float
    high: float
    band: float

    @property
    def is_tie(self) -> bool:
        """Return True if the difference is certainly within the band."""
        return -self.band <= self.low and self.high <= self.band

    @property
    def is_open(self) -> bool:
        """Return True if neither candidate is certainly ahead, nor do they certainly tie."""
        return self.low <= 0 <= self.high and not self.is_tie


def choose(
    candidates: Sequence[Candidate], weights: Mapping[str, float], original: Candidate | None = None
) -> Choice | None:
    """Return the best candidate that passes every gate, or None if none passes or none can be scored.

    Of the candidates that tie with the best score the smallest in bytes wins. Sizes within 1 % are equal; among them
    the best score wins. `original` limits what a missing objective counts as. An objective that all candidates lack is
    left out, and the reason says so.
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
    weighted = [name for name in OBJECTIVES if weights.get(name, 0.0) > 0]
    completed = _completed(passing, weights, original)
    used = [name for name in weighted if any(name in logs for logs in completed.objectives.values())]
    scores = _scores(completed.objectives, {name: weights[name] for name in used})
    if not scores or not used:
        return None
    by_key = {c.key: c for c in passing}
    lacking = {key for keys in completed.assumed.values() for key in keys}
    # By score; of equal scores the measured ones first, then by key: the order of the candidates does not matter.
    ranked = sorted(scores, key=lambda key: (-(scores[key].value or 0.0), key in lacking, key))
    leading = ranked[0]
    for key in ranked[1:]:
        # Scores are of all rounds of each, which may have been run at different times; paired rounds overrule them.
        if _gap(by_key[leading], by_key[key], completed, weights).high < 0:
            leading = key
    others = [key for key in ranked if key != leading]
    gaps = {key: _gap(by_key[leading], by_key[key], completed, weights) for key in others}
    ties = [leading, *(key for key in others if gaps[key].is_tie)]
    smallest = min(reasons.bytes_of(by_key[key]) for key in ties)
    # `ties` begins with the best and is then ordered by score, so this is the best of those of equal size.
    winner = next(key for key in ties if reasons.bytes_of(by_key[key]) <= reasons.SAME_SIZE * smallest)
    others = [key for key in (ties if len(ties) > 1 else ranked) if key != winner]
    against = f"no other candidate {shared}"
    if others:
        relation: reasons.Relation = (
            "tie" if len(ties) > 1 else "open" if gaps[others[0]].is_open else "ahead"
        )
        main = main_objective(weights)
        against = reasons.against(
            by_key[winner], by_key[others[0]], relation, by_rate=main == "throughput", near=_near(weights)
        )
    dropped = [name for name in weighted if name not in used]
    parts = [against, *reasons.unmeasured(dropped, completed)]
    return Choice(winner, reasons.sentence(by_key[winner], "; ".join(parts), shared), scores, tuple(ties))


def gap(
    one: Candidate,
    other: Candidate,
    candidates: Sequence[Candidate],
    weights: Mapping[str, float],
    original: Candidate | None = None,
) -> Gap | None:
    """Return how far `one` is ahead of `other`, None if one of them cannot be scored.

    `candidates` are all that are compared: a missing objective counts as the worst of these and of the original.
    """
    completed = _completed(candidates, weights, original)
    if not {one.key, other.key} <= completed.objectives.keys():
        return None
    return _gap(one, other, completed, weights)


def contenders(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates eligible for selection.

    Candidates eliminated in the race are excluded if any remaining candidate passes all gates. The race compares paired
    rounds and windows, which is more precise than comparing the intervals of separate measurements.
    """
    raced = [c for c in candidates if "raced_out" not in c.facts]
    return raced if any(c.passes for c in raced) else list(candidates)


def band(weights: Mapping[str, float]) -> float:
    """Return the largest difference of scores that does not matter: the indifference, as a difference of speed.

    Without a weight of speed or throughput it is that of the objective whose indifference counts least. That of quality
    is smaller, so that who asks for quality alone gets it.
    """
    if speed := weights.get(main_objective(weights), 0.0):
        return speed * math.log1p(indifference())
    positive = {name: weight for name, weight in weights.items() if weight > 0}
    return min((weight * math.log1p(indifference(name)) for name, weight in positive.items()), default=0.0)


def _near(weights: Mapping[str, float]) -> str:
    """Return the band in words: "3 % of speed"."""
    positive = {name: band({name: weight}) for name, weight in weights.items() if weight > 0}
    name = "speed" if weights.get(main_objective(weights)) else min(positive, key=lambda one: positive[one])
    return f"{indifference(name):.1%} of {name}".replace(".0%", " %").replace("%", " %").replace("  ", " ")


def indifference(objective: str = "speed") -> float:
    """Return the share of an objective that does not matter."""
    table = shipped()["choice"]
    return float(table["quality_indifference"] if objective == "quality" else table["indifference"])


def _completed(
    candidates: Sequence[Candidate], weights: Mapping[str, float], original: Candidate | None
) -> Completed:
    objectives = {c.key: logarithms(c) for c in candidates}
    used = [
        name
        for name in OBJECTIVES
        if weights.get(name, 0.0) > 0 and any(logs[name] is not None for logs in objectives.values())
    ]
    return completed_of(objectives, used, main_objective(weights), logarithms(original) if original else {})


def _gap(one: Candidate, other: Candidate, completed: Completed, weights: Mapping[str, float]) -> Gap:
    mine, theirs = completed.objectives[one.key], completed.objectives[other.key]
    main = main_objective(weights)
    value, half = 0.0, 0.0
    for name, logs in mine.items():
        if name == main:
            ahead, half = pairs.ahead(one, other, main) or _unpaired(logs, theirs[name])
            value, half = value + weights[name] * ahead, weights[name] * half
        else:
            value += weights[name] * (logs.value - theirs[name].value)
    return Gap(value, value - half, value + half, band(weights))


def _unpaired(one: Logs, other: Logs) -> tuple[float, float]:
    """Return the difference of two logarithms from separate rounds, and half the width of its interval.

    The halves that face each other add in quadrature (see `Figure.ties`).
    """
    value = one.value - other.value
    halves = (one.down, other.up) if value >= 0 else (one.up, other.down)
    return value, math.hypot(*halves)


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
