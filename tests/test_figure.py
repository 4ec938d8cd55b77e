"""A figure: a number with its interval, or the reason why there is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.figure import Figure

numbers = st.floats(allow_nan=False, allow_infinity=False)


def test_no_value_needs_a_reason() -> None:
    for reason in (None, ""):
        with pytest.raises(ValueError, match="must say why"):
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


def test_overlap() -> None:
    first, second, third = Figure(1.5, 1, 2), Figure(2.5, 2, 3), Figure(4, 3.5, 5)
    assert first.overlaps(second) and second.overlaps(first)  # they share the point 2
    assert first.overlaps(first)
    assert not second.overlaps(third) and not third.overlaps(second)
    assert Figure(2, 0, 9).overlaps(first) and first.overlaps(Figure(2, 0, 9))  # one within the other


def test_what_is_missing_overlaps_nothing() -> None:
    whole = Figure(1, 0, 2)
    for other in (Figure.missing("lost"), Figure(1.0), Figure(1.0, 0.0), Figure(1.0, None, 2.0)):
        assert not whole.overlaps(other) and not other.overlaps(whole)


def test_a_prediction_says_so_and_by_how_much_it_may_be_off() -> None:
    told = Figure.prediction(10.0, 2.0, "ms")
    assert (told.low, told.high, told.n) == (5.0, 20.0, 0)
    assert told.predicted
    assert told.factor == 2.0
    assert not Figure(10.0, 5.0, 20.0, 3).predicted
    assert not Figure.missing("predicted").predicted
    assert Figure(10.0).factor == 1.0
    assert Figure(10.0, -1.0, 20.0, 3).factor == 1.0
