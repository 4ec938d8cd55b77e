"""GPTQ in numpy: the rounded matrix has less error under the Hessian than rounding to the nearest level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.backends.mlx import gptq


def loss(weight: Any, rounded: Any, hessian: Any) -> float:
    error = weight - rounded
    return float((error @ hessian * error).sum())


def nearest(weight: Any, bits: int, group: int) -> Any:
    """Round to the nearest of equally spaced levels between each group's minimum and maximum."""
    parts = weight.reshape(len(weight), -1, group)
    low, high = parts.min(2, keepdims=True), parts.max(2, keepdims=True)
    step = (high - low) / (2**bits - 1)
    return (low + step * np.round((parts - low) / step)).reshape(weight.shape)


def inputs(seed: int, columns: int) -> Any:
    """Return a Hessian of correlated inputs, some much larger than others."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(512, columns)) @ draw.normal(size=(columns, columns))
    x *= np.exp(draw.normal(size=columns))
    return (x.T @ x).astype(np.float32)


@pytest.mark.parametrize(("bits", "group", "factor"), [(4, 32, 2.0), (8, 32, 2.0), (2, 64, 1.5)])
def test_the_error_under_the_hessian_is_far_below_that_of_rounding_to_nearest(
    bits: int, group: int, factor: float
) -> None:
    weight, hessian = np.random.default_rng(1).normal(size=(24, 128)).astype(np.float32), inputs(2, 128)
    rounded = gptq.round_matrix(weight, hessian, bits, group)
    levels, scales, biases = rounded
    assert levels.max() < 2**bits and levels.shape == weight.shape
    assert scales.shape == biases.shape == (24, 128 // group)
    dequantized = gptq.dequantized(rounded, group)
    assert loss(weight, dequantized, hessian) * factor < loss(weight, nearest(weight, bits, group), hessian)


def test_zero_inputs_and_constant_rows_give_finite_results() -> None:
    hessian = inputs(3, 64)
    hessian[5] = hessian[:, 5] = 0
    weight = np.random.default_rng(4).normal(size=(4, 64)).astype(np.float32)
    weight[1] = 0.25
    rounded = gptq.round_matrix(weight, hessian, 4, 32)
    dequantized = gptq.dequantized(rounded, 32)
    assert np.isfinite(dequantized).all()
    assert np.abs(dequantized[1] - 0.25).max() < 1e-6


def test_refitting_lowers_the_error() -> None:
    weight = np.random.default_rng(5).normal(size=(8, 64)).astype(np.float32)
    hessian = inputs(6, 64)
    levels = np.random.default_rng(7).integers(0, 16, size=(8, 64), dtype=np.uint8)
    rounded = (levels, np.full((8, 2), 0.1, np.float32), np.full((8, 2), -0.8, np.float32))
    before = loss(weight, gptq.dequantized(rounded, 32), hessian)
    gptq.refit(weight, hessian, rounded, 32)
    assert loss(weight, gptq.dequantized(rounded, 32), hessian) < before


@settings(max_examples=50, deadline=None)
@given(
    bits=st.sampled_from([2, 3, 4, 5, 6, 8]),
    rows=st.integers(1, 4),
    parts=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_packed_levels_can_be_read_back(bits: int, rows: int, parts: int, seed: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 2**bits, size=(rows, parts * 32), dtype=np.uint32)
    packed = gptq.pack(levels, bits)
    assert packed.shape == (rows, parts * bits) and packed.dtype == np.uint32
    for row, words in zip(levels, packed, strict=True):
        stream = sum(int(word) << (32 * at) for at, word in enumerate(words))
        assert [stream >> (bits * at) & (2**bits - 1) for at in range(len(row))] == row.tolist()


def test_rows_that_do_not_fill_whole_words_are_refused() -> None:
    with pytest.raises(ValueError, match="8 levels of 6 bits"):
        gptq.pack(np.zeros((1, 8), np.uint32), 6)
