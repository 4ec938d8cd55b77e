"""Parsing of --minimize, --subject-to and --weights."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import InputError
from edgehone.decision import aims


@pytest.mark.parametrize(
    ("text", "figure", "op", "threshold", "bound"),
    [
        ("bytes<=60MB", "bytes", "<=", 60e6, "value"),
        ("size <= 1.5 GiB", "bytes", "<=", 1.5 * 2**30, "value"),
        ("next_token_accuracy>=0.97", "next_token_accuracy", ">=", 0.97, "low"),
        ("accuracy >= 97 %", "accuracy_kept", ">=", 0.97, "low"),
        ("latency<=0.2s", "workload_latency_ms", "<=", 200.0, "high"),
        ("kl<=1e-2", "kl_mean", "<=", 0.01, "high"),
    ],
)
def test_a_constraint_is_a_gate(text: str, figure: str, op: str, threshold: float, bound: str) -> None:
    gate = aims.constraint(text)
    assert (gate.figure, gate.op, gate.bound) == (figure, op, bound)
    assert gate.threshold == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fast please", "is not a constraint"),
        ("bytes=60MB", "= is not supported"),
        ("byts<=60MB", "did you mean 'bytes'"),
        ("bytes<=60ms", "'ms' is not a unit"),
        ("next_token_accuracy>=97", "cannot be 97"),
        ("bytes<=0", "cannot be 0"),
        ("bytes<=1e999", "is not a number"),
        ("bytes<=1.2.3", "is not a number"),
    ],
)
def test_invalid_constraints_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        aims.constraint(text)
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_contradicting_limits_are_refused() -> None:
    with pytest.raises(InputError, match="contradict each other"):
        aims.load(subject_to=["bytes<=60MB", "bytes>=80MB"])
    with pytest.raises(InputError, match="contradict each other"):
        aims.load(subject_to=["memory_cut<=0.2"])  # the gate that ships asks for 0.5
    gates = aims.load(subject_to=["bytes<=60MB", "bytes<=60MB"]).gates
    assert sum(gate.figure == "bytes" for gate in gates) == 1


def test_aims_become_weights() -> None:
    assert aims.load(minimize=["latency"]).weights == {
        **dict.fromkeys(aims.table()["objectives"], 0),
        "speed": 1,
    }
    assert aims.load(minimize=["bytes"], maximize=["accuracy"]).weights["size"] == 1
    assert aims.load().weights == {}
    assert aims.load(weights="speed=1, quality=8").weights["quality"] == 8
    with pytest.raises(InputError, match="--minimize accuracy"):
        aims.load(minimize=["accuracy"])
    with pytest.raises(InputError, match="unknown objective"):
        aims.load(minimize=["latncy"])
    with pytest.raises(InputError, match="cannot be combined"):
        aims.load(minimize=["latency"], weights="speed=1")


@pytest.mark.parametrize(
    "text", ["", "speed", "speed=", "speed=x", "speed=-1", "speed=0", "spead=1", "speed=nan"]
)
def test_weights_that_do_not_parse_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--weights"):
        aims.weights_of(text)


@given(st.text(max_size=30))
def test_any_text_is_a_gate_or_a_clear_error(text: str) -> None:
    try:
        gate = aims.constraint(text)
    except InputError as error:
        assert error.hint
    else:
        assert math.isfinite(gate.threshold)


def test_the_smallest_limit_of_bytes_applies() -> None:
    assert aims.load({}).most_bytes is None
    assert aims.load({}, subject_to=["bytes<=60MB", "bytes<=50MB"]).most_bytes == 50_000_000
    assert aims.load({}, subject_to=["next_token_accuracy>=0.9"]).most_bytes is None


def test_a_target_for_the_size_limits_what_is_proposed_and_not_what_is_accepted() -> None:
    wished = aims.load({}, subject_to=["bytes<=60MB"], targets=["bytes<=40MB", "decode>=30"])
    assert wished.most_bytes == 60_000_000 and wished.least_limit_bytes == 40_000_000
    assert aims.load({}, subject_to=["bytes<=60MB"]).least_limit_bytes == 60_000_000
    assert aims.load({}, targets=["decode>=30"]).least_limit_bytes is None
