"""Trends: growth is found, and series without one are called growth in at most 1 % of the cases."""

from __future__ import annotations

import numpy as np
import pytest

from edgehone.certify.trend import trend

SERIES, LENGTH = 1000, 20


def _called(series: list[np.ndarray], limit: float) -> float:
    return float(np.mean([trend(list(map(float, one))).grows(limit) for one in series]))


def test_independent_blocks_are_seldom_called_growth() -> None:
    draw = np.random.default_rng(1)
    series = [100 * np.exp(draw.normal(0, 0.1, LENGTH)) for _ in range(SERIES)]
    assert _called(series, -1.0) <= 0.015
    assert _called(series, 0.2) <= 0.005


def test_dependent_blocks_are_kept_by_the_limit() -> None:
    draw = np.random.default_rng(2)
    series = []
    for _ in range(SERIES):
        state, values = 0.0, []
        for shock in draw.normal(0, 0.05, LENGTH):
            state = 0.5 * state + shock
            values.append(100 * np.exp(state))
        series.append(np.array(values))
    assert 0.03 <= _called(series, -1.0) <= 0.15
    assert _called(series, 0.2) <= 0.01


@pytest.mark.parametrize("growth", [0.3, 0.6])
def test_growth_is_found(growth: float) -> None:
    draw = np.random.default_rng(3)
    slope = np.linspace(1, 1 + growth, LENGTH)
    series = [100 * slope * np.exp(draw.normal(0, 0.04, LENGTH)) for _ in range(200)]
    assert _called(series, 0.1) >= 0.95


def test_a_series_of_one_value_does_not_grow() -> None:
    found = trend([5.0] * LENGTH)
    assert found.growth == 0 and not found.grows(0.0)


def test_few_values_show_nothing() -> None:
    with pytest.raises(ValueError, match="8 are needed"):
        trend([1.0] * 7)
