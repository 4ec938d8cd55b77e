"""A figure: a number with its interval, or the reason why there is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.figure import Figure

numbers = st.floats(allow_nan=False, allow_infinity=False)


def test_no_value_needs_a_reason() -> None:
    for reason in (None, ""):
        with pytest.raises(ValueError, match="must have a reason"):
            Figure(None, reason=reason)
    missing = Figure.missing("no counter", "J")
    assert missing.value is None and missing.reason == "no counter" and missing.unit == "J" and missing.n == 0


def test_zero_is_a_value() -> None:
    assert Figure(0.0).value == 0.0


@given(numbers, st.none() | numbers, st.none() | numbers, st.integers(0, 10**6), st.text())
def test_json_gives_the_same_figure_back(
    value: float, low: float | None, high: float | None, n: int, unit: str
) -> None:
    figure = Figure(value, low, high, n, unit)
    assert Figure.from_json(json.loads(json.dumps(figure.to_json()))) == figure
    assert set(figure.to_json()) == {"value", "low", "high", "n", "unit", "reason"}


def test_ties_are_within_the_interval_of_their_difference() -> None:
    first, second, third = Figure(1.5, 1, 2), Figure(2.1, 1.6, 2.6), Figure(2.4, 1.9, 3)
    assert first.ties(second) and second.ties(first)  # 0.6 of 0.71
    assert first.ties(first)
    # 0.9 of 0.71, though the intervals share what lies from 1.9 to 2.
    assert not first.ties(third) and not third.ties(first)
    # The halves that face each other count.
    assert Figure(2, 0, 9).ties(first) and not Figure(2, 1.9, 9).ties(Figure(1.5, 0, 1.6))


@given(numbers, numbers, st.floats(0, 1e6), st.floats(0, 1e6))
def test_ties_are_mutual_and_imply_overlapping_intervals(
    one: float, other: float, half: float, reach: float
) -> None:
    a, b = Figure(one, one - half, one + half), Figure(other, other - reach, other + reach)
    assert a.ties(b) == b.ties(a)
    if a.ties(b):
        assert abs(one - other) <= (half + reach) * (1 + 1e-9) + 1e-9 * max(abs(one), abs(other))


def test_a_missing_figure_ties_with_no_other() -> None:
    whole = Figure(1, 0, 2)
    for other in (Figure.missing("lost"), Figure(1.0), Figure(1.0, 0.0), Figure(1.0, None, 2.0)):
        assert not whole.ties(other) and not other.ties(whole)


def test_a_prediction_says_so_and_by_how_much_it_may_be_off() -> None:
    told = Figure.prediction(10.0, 2.0, "ms")
    assert (told.low, told.high, told.n) == (5.0, 20.0, 0)
    assert told.predicted
    assert told.factor == 2.0
    assert not Figure(10.0, 5.0, 20.0, 3).predicted
    assert not Figure.missing("predicted").predicted
    assert Figure(10.0).factor == 1.0
    assert Figure(10.0, -1.0, 20.0, 3).factor == 1.0
