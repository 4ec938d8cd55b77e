"""Bets: a mean of at most 1 under the null, more evidence for larger changes, and no alarm beyond alpha."""

from __future__ import annotations

import json
from math import erf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.arrays import Array
from edgehone.drift.bets import Scores, Wealth, weights
from edgehone.drift.settings import settings


def _tests(tolerance: float, values: int = 1) -> Scores:
    return Scores.of(np.full(values, tolerance), settings().tails, settings().bets)


def _wealth(tests: Scores, p: Array) -> Array:
    """Return the e-processes of the scores after each batch of 32, (batches, scores)."""
    wealth = Wealth(tests.stakes.shape)
    evidence = []
    for start in range(0, p.shape[1], 32):
        factors = tests.factors(p[:, start : start + 32])
        wealth.bet(factors, np.ones(len(p), bool), start)
        evidence.append(wealth.cash[:, None] + wealth.wealth.mean(2))
    return np.array(evidence)


def test_the_weights_of_all_batches_sum_to_less_than_one() -> None:
    first = weights(np.arange(1, 1_000_001, dtype=float)).sum()
    rest = 2.9 / np.log(1_000_040)  # the integral from there on
    assert 0.95 < first + rest < 1


@given(st.floats(0, 0.2), st.floats(0, 1), st.integers(0, 2**31))
def test_no_factor_has_a_mean_over_one_within_the_tolerance(
    tolerance: float, where: float, seed: int
) -> None:
    """The mean over p-values whose distribution function departs from the uniform one by at most the tolerance.

    The mass `tolerance` is moved from one place to another, which reaches the bound.
    """
    random = np.random.default_rng(seed)
    grid = (np.arange(2000) + 0.5) / 2000
    weight = np.full(2000, 1 / 2000)
    moved = int(tolerance * 2000)
    taken = int(random.integers(2000 - moved))
    weight[taken : taken + moved] = 0
    weight[int(where * 1999)] += moved / 2000
    departure = np.abs(np.cumsum(weight) - grid - 0.5 / 2000).max()
    means = (weight[:, None, None] * _tests(tolerance, 2000).factors(grid[:, None])).sum(0)
    if departure <= tolerance:
        assert np.max(means) <= 1 + 1e-3  # the grid's width at the edge of a tail


def test_the_mean_of_the_evidence_is_at_most_one_and_rarely_large() -> None:
    """With no tolerance the evidence is a martingale: its mean stays at 1, and 1 % at most ever reach 100."""
    random = np.random.default_rng(2)
    runs = 3000
    evidence = _wealth(_tests(0.0, runs), random.random((runs, 640)))  # batches, runs, scores
    mixture = evidence.mean(2)
    assert mixture[-1].mean() == pytest.approx(1, abs=0.35)
    for threshold in (5, 20, 100):
        ever = (mixture.max(0) >= threshold).mean()
        assert ever <= 1 / threshold + 3 * np.sqrt(1 / threshold / runs)


def test_evidence_grows_with_the_size_of_the_change() -> None:
    random = np.random.default_rng(3)
    z = random.normal(size=(1, 320))
    tests = _tests(0.02)

    def p_of(shift: float) -> Array:
        return np.array([[0.5 * (1 + erf((one + shift) / sqrt(2))) for one in z[0]]])

    found = [_wealth(tests, p_of(shift))[-1, 0, 0] for shift in (0.0, 0.2, 0.4, 0.8, 1.6)]
    assert found == sorted(found)
    assert found[-1] > 1e10


def test_unknown_values_change_nothing() -> None:
    tests = _tests(0.02)
    assert tests.factors(np.full((1, 32), np.nan)) == pytest.approx(np.ones((1, 10, len(settings().bets))))


def test_wealth_stays_finite_and_returns_from_json_exactly() -> None:
    tests = _tests(0.02)
    wealth = Wealth(tests.stakes.shape)
    for number in range(300):
        wealth.bet(tests.factors(np.full((1, 32), 0.999)), np.ones(1, bool), 32 * number)
    assert np.isfinite(wealth.wealth).all()
    again = Wealth.from_json(json.loads(json.dumps(wealth.to_json())))
    assert again.to_json() == wealth.to_json()
