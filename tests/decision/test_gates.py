"""Verdicts: the judged end of the interval, and missing figures."""

from __future__ import annotations

import pytest

from edgehone.core.figure import Figure
from edgehone.decision import gates, requirements
from edgehone.decision.gates import Verdict


def judge(figure: Figure | None, gate: str = "speedup", *overrides: str) -> Verdict:
    names = [g.name for g in requirements.load(overrides=overrides).gates]
    required = requirements.load(overrides=[*overrides, *(f"{n}=off" for n in names if n != gate)])
    name = required.gates[0].figure
    (verdict,) = gates.judge({} if figure is None else {name: figure}, required)
    return verdict


def test_the_lower_end_is_judged() -> None:
    good, bad = judge(Figure(2.3, 2.1, 2.5, 5, "×")), judge(Figure(2.3, 1.9, 2.7, 5, "×"))
    assert (good.ok, bad.ok) == (True, False)
    assert good.margin == pytest.approx(0.05)
    assert bad.margin == pytest.approx(-0.05)
    assert bad.reason.startswith("speedup 1.9 (low end), required >= 2: not decided, the interval 1.9 to 2.7")


def test_exactly_the_threshold_passes() -> None:
    assert judge(Figure(2.0, 2.0, 2.0, 3)).ok
    assert judge(Figure(0.2), "latency_cv").ok
    assert not judge(Figure(0.2001), "latency_cv").ok


def test_an_upper_limit_is_judged_by_the_upper_end() -> None:
    got = judge(Figure(90.0, 80.0, 101.0, 5, "ms"), "ttft_ms_max", "ttft_ms_max=100")
    assert not got.ok
    assert got.margin == pytest.approx(-0.01)


@pytest.mark.parametrize(
    ("figure", "reason"),
    [
        (None, "speedup was not measured"),
        (Figure.missing("no counter"), "no counter"),
        (Figure(9.0, n=1), "no interval (n = 1)"),
        (Figure(9.0, float("nan"), 10.0, 2), "no interval"),
    ],
)
def test_a_missing_figure_fails_with_its_reason(figure: Figure | None, reason: str) -> None:
    got = judge(figure)
    assert not got.ok
    assert got.margin is None
    assert reason in got.reason


def test_a_prediction_is_judged_by_its_unfavourable_end() -> None:
    cut = judge(Figure(0.6, 0.4, 0.7, 0, "share", "predicted"), "memory_cut")
    assert not cut.ok  # measured, the value is what counts
    assert cut.bound == "low"
    assert cut.reason == "memory_cut 0.4 (low end) predicted, required >= 0.5"
    assert judge(Figure(0.6, 0.4, 0.7, 1, "share"), "memory_cut").ok
    late = judge(Figure.prediction(90.0, 1.2, "ms"), "latency_ms_max", "latency_ms_max=100")
    assert (late.ok, late.bound) == (False, "high")


def test_all_gates_in_order() -> None:
    got = gates.judge({}, requirements.load())
    assert [v.gate for v in got] == ["accuracy_kept", "speedup", "memory_cut", "latency_cv"]
    assert not any(v.ok for v in got)
