"""Codes and scales that are improved together: every sweep lowers the error, and the bytes keep their form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.backends.llamacpp import codes, descent, scales
from edgehone.backends.llamacpp.codes import LAYOUTS
from edgehone.backends.llamacpp.lookup import TABLES
from edgehone.backends.shared import gptq as shared
from tests.backends.llamacpp.test_gptq import KINDS, block, correlated

SEEDS = st.integers(0, 2**32)


def lost(kind: str, raw: Any, weights: Any, factor: shared.Factor) -> Any:
    """The squared output error of each row."""
    rows = len(weights)
    places = codes.grid(kind, raw, rows)
    error = codes.codes(kind, raw, rows) * places.scale - places.zero - weights
    return shared.losses(np.ascontiguousarray(error.T[factor.order]), factor.damped)


def test_every_layout_has_scales() -> None:
    assert scales.FORMS.keys() == LAYOUTS.keys() | TABLES.keys()
    with pytest.raises(KeyError, match="IQ1_S"):
        scales.read("IQ1_S", np.zeros(50, np.uint8), 1)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KINDS), SEEDS)
def test_reading_and_writing_scales_preserves_the_bytes(kind: str, seed: int) -> None:
    raw = block(kind, 6, seed)
    assert (scales.written(kind, raw, scales.read(kind, raw, 3)) == raw).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KINDS), SEEDS)
def test_scales_are_those_of_the_grid(kind: str, seed: int) -> None:
    raw, form = block(kind, 6, seed), scales.FORMS[kind]
    found, places = scales.read(kind, raw, 3), codes.grid(kind, raw, 3)
    per_block = LAYOUTS[kind][1] // form.group
    scale = np.repeat(np.repeat(found.step, per_block, 0) * found.integers, form.group, 0).T
    np.testing.assert_allclose(scale, places.scale, rtol=1e-6)
    if found.low is not None and found.lows is not None:
        zero = np.repeat(np.repeat(found.low, per_block, 0) * found.lows, form.group, 0).T
        np.testing.assert_allclose(zero, places.zero, rtol=1e-6)
    else:
        np.testing.assert_allclose(scale * float(form.offset or 0), places.zero, rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(KINDS), SEEDS)
def test_no_sweep_increases_the_error(kind: str, seed: int) -> None:
    raw, factor = block(kind, 6, seed), shared.factor(correlated(2 * LAYOUTS[kind][1], seed))
    spread = codes.grid(kind, raw, 3).scale.std() or 1.0
    weights = np.random.default_rng(seed).normal(size=(3, 2 * LAYOUTS[kind][1])).astype(np.float32) * spread
    before = lost(kind, raw, weights, factor)
    once = descent.descend(kind, raw, weights, factor, 1)
    twice = descent.descend(kind, once, weights, factor, 1)
    assert once.shape == raw.shape and once.dtype == np.uint8
    assert (lost(kind, once, weights, factor) <= before * 1.001).all()
    assert (lost(kind, twice, weights, factor) <= lost(kind, once, weights, factor) * 1.001).all()
    assert lost(kind, once, weights, factor).sum() < 0.9 * before.sum()  # random codes leave much to gain


def test_exact_weights_stay() -> None:
    raw, factor = block("Q2_K", 2, 3), shared.factor(correlated(512, 0))
    places = codes.grid("Q2_K", raw, 1)
    exact = codes.codes("Q2_K", raw, 1) * places.scale - places.zero
    made = descent.descend("Q2_K", raw, exact, factor, 2)
    assert lost("Q2_K", made, exact, factor)[0] < 1e-6


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_shifted_weights_make_up_for_other_inputs(seed: int) -> None:
    random = np.random.default_rng(seed)
    exact = random.normal(size=(400, 12)) @ random.normal(size=(12, 12))
    found = exact + 0.3 * random.normal(size=(400, 12)) @ random.normal(size=(12, 12))
    weights = random.normal(size=(5, 12)).astype(np.float32)
    factor = shared.factor((found.T @ found / 400).astype(np.float32))
    moved = shared.shift((exact.T @ found / 400).astype(np.float32), factor, 1.0)

    def missed(tried: Any) -> float:
        return float(((exact @ weights.T - found @ tried.T) ** 2).sum())

    assert missed(weights + weights @ moved) < missed(weights)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_equal_inputs_move_nothing(seed: int) -> None:
    moments = correlated(24, seed)
    factor = shared.factor(moments)
    moved = shared.shift(moments.copy(), factor, 1.0)
    assert np.abs(moved).max() < 1e-2
