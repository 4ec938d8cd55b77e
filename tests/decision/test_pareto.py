"""The frontier against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.decision.pareto import frontier

Point = list[float | None]


def brute(points: list[Point], maximise: list[bool]) -> list[bool]:
    """By the definition, point against point."""
    whole = [all(v is not None and not math.isnan(v) for v in p) for p in points]

    def dominates(a: Point, b: Point) -> bool:
        signs = [1 if up else -1 for up in maximise]
        pairs = [(s * x, s * y) for s, x, y in zip(signs, a, b, strict=True)]  # type: ignore[operator]
        return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)

    return [
        whole[i] and not any(whole[j] and dominates(other, point) for j, other in enumerate(points))
        for i, point in enumerate(points)
    ]


value = some.one_of(
    some.integers(0, 4).map(float), some.floats(allow_infinity=True), some.none(), some.just(float("nan"))
)


@given(some.data())
def test_as_the_definition_says(data: some.DataObject) -> None:
    count = data.draw(some.integers(1, 4))
    points = data.draw(some.lists(some.lists(value, min_size=count, max_size=count), max_size=40))
    maximise = data.draw(some.lists(some.booleans(), min_size=count, max_size=count))
    assert frontier(points, maximise) == brute(points, maximise)


def test_two_objectives() -> None:
    points = [(1.0, 9.0), (2.0, 5.0), (3.0, 6.0), (4.0, 1.0)]
    assert frontier(points, [False, False]) == [True, True, False, True]
    assert frontier(points, [True, True]) == [True, False, True, True]


def test_equal_points_all_stay() -> None:
    assert frontier([(1.0, 1.0), (1.0, 1.0), (2.0, 2.0)], [False, False]) == [True, True, False]


def test_a_missing_value_neither_wins_nor_removes() -> None:
    assert frontier([(None, 0.0), (math.nan, 0.0), (5.0, 5.0)], [False, False]) == [False, False, True]


def test_nothing_and_all_missing() -> None:
    assert frontier([], [True]) == []
    assert frontier([(None,)], [True]) == [False]


def test_points_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 2 objectives"):
        frontier([(1.0,)], [True, True])


def test_a_thousand_points() -> None:
    points = np.random.default_rng(1).random((1000, 4)).tolist()
    on = frontier(points, [True, True, False, False])
    kept = np.array(points)[np.array(on)] * [-1, -1, 1, 1]
    assert 20 < len(kept) < 500
    assert not any((kept <= row).all(axis=1).sum() > 1 for row in kept)
