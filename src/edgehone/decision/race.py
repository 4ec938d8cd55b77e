"""The race: find the candidates that can no longer win, by paired differences, in which common influences cancel.

Two candidates are compared on the same windows of text (quality) and in the same rounds (speed). The runs of one round
are close together in time, so whatever slows the machine slows both. The advantage of one candidate over another is the
difference of their scores (see `choice`): weights times differences of logarithms. A candidate is eliminated once the
upper end of its advantage over the leader is below 0.

The interval is evaluated after each round, so its error is divided by the planned number of evaluations (Bonferroni).
Over a whole race the probability that the best candidate is eliminated is at most ERROR for each challenger. Racing:
Maron & Moore, "Hoeffding Races" (1994); with paired tests: Birattari et al., "A Racing Algorithm for Configuring
Metaheuristics" (2002).
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
# Fewer pairs than this are not enough to estimate their variance.
LEAST_PAIRS = 3


@dataclass(frozen=True)
class Runner:
    """A candidate's measurements in the race.

    `rounds` maps the number of a round to the latency in it (ms). `quality` has one number per window (the logarithm
    of the quality that is kept, in nats). `memory` and `size` are bytes. `shares` maps the number of a round to the
    milliseconds per answer in it: 1000 / answers per second. None means unknown; candidates are then not compared by
    it.
    """

    key: str
    rounds: Mapping[int, float] = field(default_factory=dict)
    quality: NDArray[np.float64] | None = None
    memory: float | None = None
    size: float | None = None
    shares: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Advantage:
    """The difference of two scores with its interval (None if there are too few pairs)."""

    value: float
    low: float | None
    high: float | None


def advantage(one: Runner, other: Runner, weights: Mapping[str, float], looks: int) -> Advantage | None:
    """Return how far `one` is ahead of `other` in units of the score, or None if a weighted objective is unknown.

    `looks` is the planned number of evaluations of the interval.
    """
    parts: list[tuple[float, float | None]] = []
    parts_of = {
        "speed": lambda: _mean(_faster(one.rounds, other.rounds), looks),
        "throughput": lambda: _mean(_faster(one.shares, other.shares), looks),
        "quality": lambda: _mean(_quality(one, other), looks),
        "memory": lambda: _fixed(one.memory, other.memory),
        "size": lambda: _fixed(one.size, other.size),
    }
    for name, weight in weights.items():
        if weight <= 0:
            continue
        part = parts_of[name]()
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
    """Return the runner that no other is ahead of by value, or None if none can be compared.

    The runners are compared one after another with the best so far, since advantages that come from different rounds
    need not be transitive.
    """
    best: Runner | None = None
    for runner in runners:
        if best is None:
            best = runner if advantage(runner, runner, weights, 1) else None
        elif (ahead := advantage(runner, best, weights, 1)) and ahead.value > 0:
            best = runner
    return best


def beaten(runner: Runner, best: Runner, weights: Mapping[str, float], looks: int) -> str | None:
    """Return why `runner` can no longer win, or None while it can."""
    ahead = advantage(runner, best, weights, looks)
    if ahead is None or ahead.high is None or ahead.high >= 0:
        return None
    behind = f"{-ahead.value:.2g} in the score, and by at least {-ahead.high:.2g}"
    return f"eliminated in the race: behind {best.key} by {behind}"


def _faster(one: Mapping[int, float], other: Mapping[int, float]) -> list[float] | None:
    return [math.log(other[number] / one[number]) for number in sorted(set(one) & set(other))] or None


def _quality(one: Runner, other: Runner) -> list[float] | None:
    if one.quality is None or other.quality is None:
        return None
    # One of them may have been scored on the first windows only.
    count = min(len(one.quality), len(other.quality))
    differences: Any = one.quality[:count] - other.quality[:count]
    return [float(d) for d in differences] or None


def _mean(differences: Sequence[float] | None, looks: int) -> tuple[float, float | None] | None:
    """Return the mean and half the width of its interval (None if there are too few differences)."""
    if differences is None:
        return None
    n = len(differences)
    mean = sum(differences) / n
    if n < LEAST_PAIRS:
        return mean, None
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    return mean, t_quantile(n - 1, 1 - ERROR / max(1, looks)) * math.sqrt(variance / n)


def _fixed(one: float | None, other: float | None) -> tuple[float, float | None] | None:
    """Return the logarithm of the ratio of two values that are measured once and hardly vary."""
    if not one or not other:
        return None
    return math.log(other / one), 0.0
