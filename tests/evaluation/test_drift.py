"""The drift of a machine from run to run: intervals that include it cover what the artifact takes in the long run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgehone.core.figure import Figure
from edgehone.evaluation.drift import APART_SECONDS, Drift, Run, drift_of, widened


def runs(effects: np.ndarray, own: np.ndarray, apart: float = APART_SECONDS) -> list[Run]:
    """Return runs of three artifacts of 50, 80 and 200 ms. `own` is each one's own error: runs x artifacts."""
    levels = np.log([50.0, 80.0, 200.0])
    return [
        Run(1e9 + apart * at, dict(zip("abc", np.exp(levels + effect + each).tolist(), strict=True)))
        for at, (effect, each) in enumerate(zip(effects, own, strict=True))
    ]


def test_intervals_with_the_drift_cover_the_long_run_mean() -> None:
    """Simulated runs whose machine varies by 10 % while their rounds agree within 2 %."""
    draw = np.random.default_rng(1)
    plain = wide = 0
    for _ in range(600):
        count = int(draw.integers(3, 12))
        effects, own = draw.normal(0, 0.1, count), draw.normal(0, 0.02, (count, 3))
        drift = drift_of(runs(effects, own))
        assert drift is not None and drift.runs == count
        value = 50 * math.exp(effects[-1] + own[-1, 0])
        figure = Figure(value, value * math.exp(-0.04), value * math.exp(0.04), 5, "ms")
        wider = drift.widen(figure)
        assert figure.low and figure.high and wider.low and wider.high
        plain += figure.low <= 50 <= figure.high
        wide += wider.low <= 50 <= wider.high
    assert plain < 0.5 * 600
    assert wide >= 0.93 * 600


def test_a_host_of_two_speeds_is_covered_in_most_slow_runs_too() -> None:
    """One run in six is 28 % slower; the long run is the usual speed."""
    draw = np.random.default_rng(4)
    covered: dict[bool, list[bool]] = {True: [], False: []}
    for _ in range(400):
        count = int(draw.integers(10, 60))
        effects = np.where(draw.random(count) < 1 / 6, 0.25, 0.0) + draw.normal(0, 0.02, count)
        drift = drift_of(runs(effects, draw.normal(0, 0.01, (count, 3))))
        assert drift is not None
        value = 50 * math.exp(effects[-1])
        wider = drift.widen(Figure(value, value * 0.96, value * 1.04, 5, "ms"))
        assert wider.low and wider.high and wider.high / value < 1.7
        covered[effects[-1] > 0.15].append(wider.low <= 50 <= wider.high)
    assert np.mean(covered[True] + covered[False]) >= 0.94
    assert np.mean(covered[True]) >= 0.65  # by the t interval alone: 0.06


def test_a_slow_run_counts_although_another_began_just_before() -> None:
    effects, own = np.array([0.0, 0.0, 0.0, 0.3]), np.zeros((4, 3))
    some = runs(effects, own)
    late = [*some[:3], Run(some[2].at + 30, some[3].latencies)]
    found = drift_of(late)
    assert found is not None and found.runs == 3 and found.half >= 0.299


def test_ratios_to_the_original_cover_their_long_run_mean() -> None:
    """Simulated runs in which each artifact also varies by 5 % on its own, while the rounds of a run agree."""
    draw = np.random.default_rng(3)
    plain = wide = 0
    for _ in range(600):
        count = int(draw.integers(3, 12))
        effects, own = draw.normal(0, 0.1, count), draw.normal(0, 0.05, (count, 3))
        drift = drift_of(runs(effects, own), "c")
        assert drift is not None and drift.ratio_half is not None
        value = 4 * math.exp(own[-1, 2] - own[-1, 0])
        figure = Figure(value, value * math.exp(-0.02), value * math.exp(0.02), 5, "×")
        wider = widened(figure, drift.ratio_half)
        assert figure.low and figure.high and wider.low and wider.high
        plain += figure.low <= 4 <= figure.high
        wide += wider.low <= 4 <= wider.high
    assert plain < 0.5 * 600
    assert wide >= 0.93 * 600


def test_ratios_need_runs_of_the_original() -> None:
    some = runs(np.array([0.0, 0.1, 0.2]), np.zeros((3, 3)))
    assert (found := drift_of(some, "c")) is not None and found.ratio_half == pytest.approx(0, abs=1e-9)
    assert (found := drift_of(some)) is not None and found.ratio_half is None
    assert (found := drift_of(some, "z")) is not None and found.ratio_half is None
    without = [
        Run(one.at, {n: v for n, v in one.latencies.items() if (n, at) != ("c", 1)})
        for at, one in enumerate(some)
    ]
    assert (found := drift_of(without, "c")) is not None and found.ratio_half is None


def test_a_steady_machine_changes_nothing() -> None:
    drift = drift_of(runs(np.zeros(4), np.zeros((4, 3))))
    assert drift is not None and drift.half == pytest.approx(0, abs=1e-9)
    figure = Figure(50.0, 49.0, 52.0, 5, "ms")
    assert drift.widen(figure).low == pytest.approx(49.0)
    assert drift.widen(figure).high == pytest.approx(52.0)


def test_runs_in_the_same_state_count_once() -> None:
    effects, own = np.array([0.0, 0.1, 0.0, 0.1, 0.0]), np.zeros((5, 3))
    assert drift_of(runs(effects, own, apart=APART_SECONDS / 2)) == drift_of(runs(effects[::2], own[::2]))
    assert drift_of(runs(effects, own, apart=1.0)) is None


def test_too_few_common_artifacts_tell_nothing() -> None:
    effects, own = np.array([0.0, 0.1, 0.2]), np.zeros((3, 3))
    some = runs(effects, own)
    assert drift_of(some[:2]) is None
    assert drift_of([]) is None
    apart = [
        Run(one.at, {f"{name}{at}": ms for name, ms in one.latencies.items()}) for at, one in enumerate(some)
    ]
    assert drift_of(apart) is None
    # Two groups of two runs: two degrees of freedom, as three runs of one group have.
    others = [Run(one.at + 5e5, {"z": 2 * one.latencies["c"]}) for one in some[:2]]
    found = drift_of([*some[:2], *others])
    assert found is not None and found.runs == 4
    assert found.half == pytest.approx(4.302653 * math.sqrt(4 * 0.05**2 / 2), rel=1e-4)


def test_a_missing_artifact_does_not_shift_a_run() -> None:
    draw = np.random.default_rng(2)
    full = runs(draw.normal(0, 0.05, 6), np.zeros((6, 3)))
    holes = [
        Run(one.at, {n: v for n, v in one.latencies.items() if (n, at) != ("c", 2)})
        for at, one in enumerate(full)
    ]
    found, complete = drift_of(holes), drift_of(full)
    assert found is not None and complete is not None
    assert found.half == pytest.approx(complete.half, rel=1e-3)


@pytest.mark.parametrize(
    "figure",
    [
        Figure.missing("not measured", "ms"),
        Figure(50.0, None, None, 1, "ms"),
        Figure.prediction(50.0, 1.5, "ms"),
        Figure(50.0, 0.0, 90.0, 3, "ms"),
    ],
)
def test_figures_without_a_measured_interval_stay(figure: Figure) -> None:
    assert Drift(0.2, 5).widen(figure) == figure
