"""GPTQ in float32 products: equal to the algorithm column by column in float64, and what it does with odd moments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.backends.shared import gptq
from edgehone.backends.shared.gptq import Levels


def correlated(columns: int, seed: int) -> Any:
    """Return second moments of inputs of which some are much larger than others."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(4 * columns, columns)) @ random.normal(size=(columns, columns))
    inputs *= np.exp(random.normal(size=columns))
    return (inputs.T @ inputs / len(inputs)).astype(np.float32)


def by_column(weights: Any, moments: Any, scale: float, most: int) -> Any:
    """Algorithm 1 of the paper in float64, one column at a time, in the order of importance."""
    moments = moments.astype(np.float64)
    moments += np.eye(len(moments)) * gptq.DAMPING * np.diag(moments).mean()
    order = np.argsort(-np.diag(moments))
    upper = np.linalg.cholesky(np.linalg.inv(moments[np.ix_(order, order)])).T
    left = weights[:, order].astype(np.float64)
    codes = np.zeros(left.shape, np.uint8)
    for at in range(left.shape[1]):
        codes[:, at] = np.clip(np.rint(left[:, at] / scale + most // 2), 0, most)
        value = (codes[:, at] - float(most // 2)) * scale
        error = (left[:, at] - value) / upper[at, at]
        left[:, at + 1 :] -= np.outer(error, upper[at, at + 1 :])
    ordered = np.empty_like(codes)
    ordered[:, order] = codes
    return ordered


def rounded(weights: Any, factor: gptq.Factor, scale: float, most: int) -> tuple[Any, Any]:
    left = np.ascontiguousarray(weights.T[factor.order])
    grid = Levels(np.float32(scale), np.float32(scale * (most // 2)), most)
    found, lost = gptq.round_columns(left, factor.upper, lambda start, end: grid)
    codes = np.empty_like(weights, np.uint8)
    codes[:, factor.order] = found.T
    return codes, lost


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([1, 15, 16, 17, 96, 160, 300]), st.integers(0, 2**32))
def test_batched_rounding_equals_rounding_by_column(columns: int, seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=(12, columns)).astype(np.float32)
    moments = correlated(columns, seed)
    factor = gptq.factor(moments)
    found, lost = rounded(weights, factor, 0.4, 15)
    wanted = by_column(weights, moments, 0.4, 15)
    # A weight half-way between two levels may go either way in float32, and its successors follow it.
    assert (found == wanted).all(1).mean() >= 0.5

    def loss(codes: Any) -> Any:
        error = (codes.astype(np.float32) - 7) * np.float32(0.4) - weights
        return gptq.losses(np.ascontiguousarray(error.T[factor.order]), factor.damped)

    assert lost == pytest.approx(loss(found), rel=0.02)
    assert loss(found).sum() <= 1.05 * loss(wanted).sum()
    nearest = np.clip(np.rint(weights / 0.4 + 7), 0, 15)
    assert columns < 96 or loss(found).sum() < 0.8 * loss(nearest).sum()


@pytest.mark.parametrize("size", [1, 5, 128, 129, 400])
def test_the_factor_is_that_of_the_inverse(size: int) -> None:
    factor = gptq.factor(correlated(size, size))
    assert (np.tril(factor.upper, -1) == 0).all()
    product = factor.upper.T.astype(np.float64) @ factor.upper @ factor.damped
    assert np.abs(product - np.eye(size)).max() < 0.01
    assert (np.diff(np.diag(factor.damped)) <= 0).all()


def test_independent_inputs_are_rounded_to_nearest() -> None:
    weights = np.random.default_rng(1).normal(size=(4, 32)).astype(np.float32)
    found, _ = rounded(weights, gptq.factor(np.eye(32, dtype=np.float32)), 0.5, 15)
    assert (found == np.clip(np.rint(weights / 0.5 + 7), 0, 15)).all()


def test_inputs_that_are_never_used_and_empty_grids_are_handled() -> None:
    weights = np.ones((2, 32), np.float32)
    factor = gptq.factor(np.zeros((32, 32), np.float32))
    found, lost = rounded(weights, factor, 0.0, 15)
    assert found.max() <= 15 and np.isfinite(lost).all()


def test_moments_of_few_tokens_get_more_damping_until_they_can_be_factored() -> None:
    inputs = np.random.default_rng(2).normal(size=(3, 200)).astype(np.float32) * 1e3
    moments = inputs.T @ inputs
    moments -= 0.02 * np.eye(200, dtype=np.float32) * np.diag(moments).mean()  # as rounding errors may do
    factor = gptq.factor(moments)
    assert np.isfinite(factor.upper).all()
    assert np.diag(factor.damped).mean() > 1.05 * np.diag(moments).mean()


def test_groups_are_asked_for_in_order_with_all_compensations() -> None:
    asked, factor = [], gptq.factor(correlated(200, 3), sort=False)
    left = np.random.default_rng(3).normal(size=(200, 2)).astype(np.float32)

    def levels(start: int, end: int) -> Levels:
        asked.append((start, end))
        return Levels(np.float32(0.5), np.float32(4), 15)

    gptq.round_columns(left, factor.upper, levels, 64)
    assert asked == [(0, 64), (64, 128), (128, 192), (192, 200)]
