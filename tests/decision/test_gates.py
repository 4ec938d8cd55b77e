"""Verdicts: the judged end of the interval, and missing figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.core.figure import Figure
from edgehone.decision import gates, requirements
from edgehone.decision.gates import Verdict, hopeless
from edgehone.evaluation import speed


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


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(2.1, 2.5, "passes"), (1.9, 2.4, "not decided"), (1.2, 2.0, "not decided"), (1.2, 1.9, "fails")],
)
def test_a_gate_passes_fails_or_is_undecided(low: float, high: float, word: str) -> None:
    got = judge(Figure((low + high) / 2, low, high, 5, "×"))
    assert got.word == word
    assert (got.ok, got.undecided, got.failed) == (word == "passes", word == "not decided", word == "fails")
    assert ("more rounds on a quieter machine would decide" in got.reason) is got.undecided


@pytest.mark.parametrize(
    ("value", "low", "high", "word"),
    [
        (0.15, 0.1, 0.3, "passes"),  # the value counts
        (0.25, 0.15, 0.35, "not decided"),
        (0.25, 0.21, 0.35, "fails"),
        (0.25, None, None, "fails"),
    ],
)
def test_a_gate_on_the_value_fails_only_if_the_interval_does(
    value: float, low: float | None, high: float | None, word: str
) -> None:
    assert judge(Figure(value, low, high, 5, "ratio"), "latency_cv").word == word


def test_more_text_decides_about_quality_and_not_more_rounds() -> None:
    got = judge(Figure(0.95, 0.94, 0.96, 24, "ratio"), "accuracy_kept")
    assert got.undecided and "more samples would decide" in got.reason


def test_a_disturbed_measurement_neither_passes_nor_fails_a_gate_on_speed() -> None:
    required = requirements.load()
    figures = {
        "speedup": Figure(9.0, 8.9, 9.1, 5, "×"),
        "latency_cv": Figure(0.9, 0.8, 1.0, 5, "ratio"),
        "accuracy_kept": Figure(0.5, 0.49, 0.51, 24, "ratio"),
        "memory_cut": Figure(0.9),
    }
    found = {one.gate: one for one in gates.judge(figures, required, "cc1 takes 90 % of the processors")}
    assert {gate: one.word for gate, one in found.items()} == {
        "speedup": "not decided", "latency_cv": "not decided", "accuracy_kept": "fails", "memory_cut": "passes"
    }  # fmt: skip
    assert found["speedup"].reason.endswith("not decided, cc1 takes 90 % of the processors")


def test_variation_of_requests_that_were_all_disturbed_is_undecided() -> None:
    """It says nothing about the candidate, whose requests may hardly vary."""
    got = judge(Figure.missing(speed.ALL_DISTURBED, "ratio"), "latency_cv")
    assert got.word == "not decided" and got.margin is None
    assert got.reason == f"not decided, {speed.ALL_DISTURBED}"
    assert judge(Figure.missing("one request per round has no variation", "ratio"), "latency_cv").failed


def test_a_prediction_is_not_measured_on() -> None:
    got = judge(Figure(2.3, 1.9, 2.7, 0, "×", "predicted"))
    assert got.failed
    (same,) = gates.judge(
        {"speedup": Figure(2.3, 1.9, 2.7, 0, "×", "predicted")},
        requirements.load(overrides=["accuracy_kept=off", "memory_cut=off", "latency_cv=off"]),
        "cc1 takes 90 %",
    )
    assert same.failed


ends = some.floats(0.1, 10)


@given(ends, ends, ends, some.sampled_from(["speedup", "latency_cv", "accuracy_kept"]))
def test_a_verdict_is_one_of_three_and_a_narrower_interval_never_undoes_it(
    low: float, value: float, high: float, gate: str
) -> None:
    low, value, high = sorted((low, value, high))
    wide, narrow = Figure(value, low, high, 5), Figure(value, (low + value) / 2, (value + high) / 2, 5)
    first, second = judge(wide, gate), judge(narrow, gate)
    assert [first.ok, first.undecided, first.failed].count(True) == 1
    if not first.undecided:
        assert second.word == first.word
    assert (hopeless({first.figure: wide}, only(gate)) is not None) is first.failed


def only(gate: str) -> requirements.Requirements:
    names = [g.name for g in requirements.load().gates]
    return requirements.load(overrides=[f"{name}=off" for name in names if name != gate])


def test_what_is_undecided_is_not_hopeless() -> None:
    assert hopeless({"speedup": Figure(1.9, 1.7, 2.1, 5)}, only("speedup")) is None
    told = hopeless({"speedup": Figure(1.7, 1.5, 1.9, 5)}, only("speedup"))
    assert told == "cannot pass speedup: speedup 1.9 at best, required >= 2"
    assert hopeless({"speedup": Figure.missing("not measured")}, only("speedup")) is None
    assert hopeless({"speedup": Figure(1.0)}, only("speedup")) is None
    assert hopeless({}, only("speedup")) is None
