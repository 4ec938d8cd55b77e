"""How much a machine's own speed varies from run to run, from the latencies of the same artifacts in earlier runs.

The rounds of one run lie minutes apart at most. A shared host, a warm processor or another power source changes its
speed over hours, which rounds of one run cannot show: an interval from them alone is too narrow for what the artifact
takes tomorrow. The model is ln(latency of artifact a in run r) = level of a + effect of r + the run's own error. The
effects of the runs are a random sample of this machine's states (a one-way random-effects model, as in Searle, Casella
and McCulloch, Variance Components, 1992, with the artifacts' levels as fixed effects).

A shared host often has two speeds rather than a bell of them: usual, and slower while a neighbour works. The t interval
of a few rare slow runs is too narrow for one of them, so an interval is never narrower than the 95 % of deviations that
were seen (an order statistic, which assumes no distribution: Wilks, 1941).

A state of the machine does not slow all artifacts alike: what waits for memory and what computes differ. So the ratio
of two artifacts drifts as well, by less; its variance between runs is estimated from the ratios themselves.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgehone.core.figure import Figure
from edgehone.evaluation.speed import LOADS, UNITS
from edgehone.evaluation.statistics import t_quantile

# Runs that began within this time of one another saw the machine in the same state: the last of them counts.
APART_SECONDS = 300.0
# The share of further runs that an interval is for.
_SHARE = 0.95
# With fewer runs the t quantile (12.7 with one degree of freedom) says nothing useful.
LEAST_RUNS = 3
# Figures that follow the machine's speed. The variation within a run and the time to open an artifact do not.
FOLLOWING = tuple(name for name in UNITS if name not in (*LOADS, "latency_cv"))
_ROUNDS_OF_FIT = 30


@dataclass(frozen=True)
class Run:
    """The latencies of one run in milliseconds, by artifact. `at`: seconds since 1970."""

    at: float
    latencies: Mapping[str, float]


@dataclass(frozen=True)
class Drift:
    """How far a run may be from the long run, from `runs` runs: half widths of 95 % intervals, natural logarithms.

    `half` is that of a run's effect, which times and rates follow; `ratio_half` that of the ratio of an artifact to the
    original, None if too few runs have measured the original.
    """

    half: float
    runs: int
    ratio_half: float | None = None

    def widen(self, figure: Figure) -> Figure:
        """Return a figure whose interval includes the drift; one without a value or an interval stays as it is."""
        if (
            figure.value is None
            or figure.predicted
            or not figure.low
            or figure.high is None
            or figure.low <= 0
        ):
            return figure
        return widened(figure, self.half)

    def __str__(self) -> str:
        """Return it in words."""
        told = (
            f"this machine's own speed varied by up to {math.expm1(self.half):.0%} between {self.runs} runs; the "
            "intervals of times and rates include that"
        )
        if self.ratio_half is None:
            return told
        return f"{told}, those of speedup the {math.expm1(self.ratio_half):.0%} by which its ratios varied"


def widened(figure: Figure, half: float) -> Figure:
    """Return a positive figure with its interval widened by an independent error of so much in its logarithm."""
    assert figure.value and figure.low and figure.high
    down = math.hypot(math.log(figure.value / figure.low), half)
    up = math.hypot(math.log(figure.high / figure.value), half)
    return replace(figure, low=figure.value * math.exp(-down), high=figure.value * math.exp(up))


def drift_of(runs: Iterable[Run], original: str | None = None) -> Drift | None:
    """Return the drift of a machine, None if too few runs have measured the same artifacts.

    `original` is the artifact that the ratios are to.
    """
    measured = [
        {name: math.log(value) for name, value in run.latencies.items() if value > 0} for run in _apart(runs)
    ]
    tables = _with_common_artifacts(measured)
    free = len(tables) - _groups(tables)
    if free < LEAST_RUNS - 1:
        return None
    effects = _effects(tables)
    deviation = math.sqrt(sum(effect**2 for effect in effects) / free)
    half = max(t_quantile(free) * deviation, _seen(effects))
    return Drift(half, len(tables), _ratio_half(tables, original))


def _seen(effects: Sequence[float]) -> float:
    """Return the deviation from the median that _SHARE of further runs do not exceed: of few runs the largest."""
    middle = statistics.median(effects)
    deviations = sorted(abs(effect - middle) for effect in effects)
    return deviations[min(len(deviations), math.ceil(_SHARE * (len(deviations) + 1))) - 1]


def _ratio_half(tables: Sequence[Mapping[str, float]], original: str | None) -> float | None:
    """Return half the 95 % interval of a run's deviation in the logarithm of the ratio of an artifact to the original.

    The variance is pooled over the artifacts. Their ratios have the original in common, so together they have no more
    degrees of freedom than the runs that measured it.
    """
    with_original = [table for table in tables if original in table]
    free = len(with_original) - 1
    if original is None or free < LEAST_RUNS - 1:
        return None
    ratios: dict[str, list[float]] = {}
    for table in with_original:
        for name in table.keys() - {original}:
            ratios.setdefault(name, []).append(table[name] - table[original])
    repeated = [own for own in ratios.values() if len(own) > 1]
    if not repeated:
        return None
    squares = sum((ratio - sum(own) / len(own)) ** 2 for own in repeated for ratio in own)
    variance = squares / sum(len(own) - 1 for own in repeated)
    return t_quantile(free) * math.sqrt(variance)


def _apart(runs: Iterable[Run]) -> list[Run]:
    """Return the runs that began in different states of the machine, the last one first: its interval is asked for."""
    kept: list[Run] = []
    for run in sorted(runs, key=lambda one: one.at, reverse=True):
        if not kept or kept[-1].at - run.at >= APART_SECONDS:
            kept.append(run)
    return kept


def _with_common_artifacts(tables: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """Leave out artifacts of one run only, which tell nothing of the run's effect, and runs without others."""
    counts: dict[str, int] = {}
    for name in (name for table in tables for name in table):
        counts[name] = counts.get(name, 0) + 1
    common = [{name: value for name, value in table.items() if counts[name] > 1} for table in tables]
    return [table for table in common if table]


def _groups(tables: Sequence[Mapping[str, float]]) -> int:
    """Return into how many groups the runs fall that have no artifact in common. Each costs a degree of freedom."""
    groups: list[set[str]] = []
    for table in tables:
        joined = set(table)
        apart = []
        for group in groups:
            if group & joined:
                joined |= group
            else:
                apart.append(group)
        groups = [*apart, joined]
    return len(groups)


def _effects(tables: Sequence[Mapping[str, float]]) -> list[float]:
    """Fit the model by least squares: means over runs and over artifacts in turn, until they settle."""
    effects = [0.0] * len(tables)
    for _ in range(_ROUNDS_OF_FIT):
        values: dict[str, list[float]] = {}
        for table, effect in zip(tables, effects, strict=True):
            for name, value in table.items():
                values.setdefault(name, []).append(value - effect)
        levels = {name: sum(each) / len(each) for name, each in values.items()}
        effects = [
            sum(value - levels[name] for name, value in table.items()) / len(table) for table in tables
        ]
    return effects
