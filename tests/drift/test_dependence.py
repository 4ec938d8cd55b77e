"""Variance inflation: 1 for independent requests, near the truth for dependent ones, not moved by a change."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from edgehone.drift.dependence import Inflation, slow_variation


def _sessions(random: np.random.Generator, count: int, mean: float) -> NDArray[np.float64]:
    """Return p-values that stay the same for a session of `mean` requests: an inflation of 2 mean - 1."""
    session = np.cumsum(random.random(count) < 1 / mean)
    return np.asarray(random.random(session[-1] + 1)[session])


def _estimate(p: NDArray[np.float64]) -> float:
    inflation = Inflation(1)
    for start in range(0, len(p) - 31, 32):
        inflation.observe(p[None, start : start + 32])
    return float(inflation.factor()[0])


def test_independent_requests_are_not_inflated() -> None:
    found = [_estimate(np.random.default_rng(seed).random(3200)) for seed in range(50)]
    assert found.count(1.0) >= 45


@pytest.mark.parametrize("mean", [4, 10])
def test_sessions_are_inflated_by_their_length(mean: int) -> None:
    found = [_estimate(_sessions(np.random.default_rng(seed), 6400, mean)) for seed in range(20)]
    assert 0.8 * (2 * mean - 1) < np.median(found) < 3 * (2 * mean - 1)


def test_a_change_is_not_taken_for_variation() -> None:
    random = np.random.default_rng(0)
    p = np.concatenate([random.random(3200), 0.5 + random.random(320) / 2])
    assert _estimate(p) < 2


def test_without_traffic_seen_in_order_much_is_assumed() -> None:
    inflation = Inflation(1)
    inflation.observe(np.random.default_rng(0).random((1, 32)))
    assert inflation.factor()[0] >= 4


def test_state_returns_from_json_exactly() -> None:
    inflation = Inflation(2)
    p = np.random.default_rng(0).random((2, 32))
    p[1] = np.nan
    inflation.observe(p)
    again = Inflation.from_json(json.loads(json.dumps(inflation.to_json())))
    for one in (inflation, again):
        one.observe(np.full((2, 32), 0.25))
    assert again.to_json() == inflation.to_json()


def test_cycles_are_measured_if_the_reference_covers_them() -> None:
    random = np.random.default_rng(0)
    wave = 0.1 * np.sin(2 * np.pi * np.arange(8000) / 2000)
    uniform = np.array([0.1 + 0.8 * random.random(8000) + wave, random.random(8000)])
    found = slow_variation(uniform, np.ones(2))
    assert found[0] == pytest.approx(0.1, abs=0.03)
    assert found[1] == 0
    assert slow_variation(uniform[:, :500], np.ones(2)).tolist() == [0, 0]
