"""The race: who can no longer win, by differences that are paired, so that what both share cancels.

Two candidates are compared on the same windows of text (quality) and in the same rounds (speed: rounds that ran close
together, in which whatever slowed the machine slowed both). The advantage of one over the other is the difference of
their scores (see `choice`): weights times differences of logarithms. A candidate is out once even the upper end of its
advantage over the leader is below 0.

The interval is looked at after each round, so its error is divided by the number of looks planned (Bonferroni): over a
whole race the best is thrown out with a chance of at most ERROR for each rival. Racing: Maron & Moore, "Hoeffding
Races" (1994); paired tests for it: Birattari et al., "A Racing Algorithm for Configuring Metaheuristics" (2002).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgehone.evaluation.statistics import t_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ERROR = 0.05
# Fewer pairs than this say too little of how much they scatter.
LEAST_PAIRS = 3


@dataclass(frozen=True)
class Runner:
    """What is known of a candidate in the race.

    `rounds` maps a round's number to the latency in it (ms), `quality` is one number a window (the logarithm of what is
    kept, in nats), `memory` and `size` are bytes. `shares` maps a round's number to what an answer took of it: 1000 over
    the answers a second. None: not known, and then nobody is judged by it.
    """

    key: str
    rounds: Mapping[int, float] = field(default_factory=dict)
    quality: NDArray[np.float64] | None = None
    memory: float | None = None
    size: float | None = None
    shares: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Advantage:
    """One score minus another's, with its interval (None where there are too few pairs)."""

    value: float
    low: float | None
    high: float | None


def advantage(one: Runner, other: Runner, weights: Mapping[str, float], looks: int) -> Advantage | None:
    """How far `one` is ahead of `other` (score units, more is better); None where a weighted part is unknown.

    `looks` is how often the interval will be looked at in all.
    """
    parts: list[tuple[float, float | None]] = []
    found = {
        "speed": lambda: _mean(_faster(one.rounds, other.rounds), looks),
        "throughput": lambda: _mean(_faster(one.shares, other.shares), looks),
        "quality": lambda: _mean(_quality(one, other), looks),
        "memory": lambda: _fixed(one.memory, other.memory),
        "size": lambda: _fixed(one.size, other.size),
    }
    for name, weight in weights.items():
        if weight <= 0:
            continue
        part = found[name]()
        if part is None:
            return None
        parts.append((weight * part[0], None if part[1] is None else weight * part[1]))
    value = sum(mean for mean, _ in parts)
    halves = [half for _, half in parts if half is not None]
    if len(halves) < len(parts):
        return Advantage(value, None, None)
    half = math.hypot(*halves)
    return Advantage(value, value - half, value + half)


def leader(runners: Sequence[Runner], weights: Mapping[str, float]) -> Runner | None:
    """Whom nobody is ahead of by the values alone; None where nobody can be compared.

    Found by passing along the row: values that come from different rounds need not agree all round.
    """
    best: Runner | None = None
    for runner in runners:
        if best is None:
            best = runner if advantage(runner, runner, weights, 1) else None
        elif (ahead := advantage(runner, best, weights, 1)) and ahead.value > 0:
            best = runner
    return best


def beaten(runner: Runner, best: Runner, weights: Mapping[str, float], looks: int) -> str | None:
    """Why `runner` cannot win any more, or None while it can."""
    ahead = advantage(runner, best, weights, looks)
    if ahead is None or ahead.high is None or ahead.high >= 0:
        return None
    behind = f"{-ahead.value:.2g} in the score, and by {-ahead.high:.2g} at the least"
    return f"out of the race: behind {best.key} by {behind}"


def _faster(one: Mapping[int, float], other: Mapping[int, float]) -> list[float] | None:
    return [math.log(other[number] / one[number]) for number in sorted(set(one) & set(other))] or None


def _quality(one: Runner, other: Runner) -> list[float] | None:
    if one.quality is None or other.quality is None:
        return None
    # One may have been read on the first windows only.
    count = min(len(one.quality), len(other.quality))
    differences: Any = one.quality[:count] - other.quality[:count]
    return [float(d) for d in differences] or None


def _mean(differences: Sequence[float] | None, looks: int) -> tuple[float, float | None] | None:
    """Their mean, and half of its interval's width (None with too few of them)."""
    if differences is None:
        return None
    n = len(differences)
    mean = sum(differences) / n
    if n < LEAST_PAIRS:
        return mean, None
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    return mean, t_quantile(n - 1, 1 - ERROR / max(1, looks)) * math.sqrt(variance / n)


def _fixed(one: float | None, other: float | None) -> tuple[float, float | None] | None:
    """The logarithm of a ratio that is read once and hardly varies."""
    if not one or not other:
        return None
    return math.log(other / one), 0.0
