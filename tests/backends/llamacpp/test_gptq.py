"""GPTQ on a fixed grid, and the codes in ggml's blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.backends.llamacpp import codes, gptq
from edgehone.backends.llamacpp.codes import LAYOUTS, Grid

KINDS = sorted(LAYOUTS)


def block(kind: str, count: int, seed: int) -> Any:
    """Return random bytes of `count` blocks whose float16 values are small and finite."""
    raw = np.random.default_rng(seed).integers(0, 256, (count, LAYOUTS[kind][0]), dtype=np.uint8)
    halves = np.frombuffer(np.full(2 * count, 0.01, "<f2").tobytes(), np.uint8).reshape(count, 4)
    if kind == "Q6_K":
        raw[:, 208:] = halves[:, :2]
    else:
        raw[:, : 2 if kind == "Q4_0" else 4] = halves[:, : 2 if kind == "Q4_0" else 4]
    return raw.reshape(-1)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 2**32))
def test_reading_and_writing_codes_preserves_the_bytes(kind: str, seed: int) -> None:
    raw = block(kind, 6, seed)
    found = codes.codes(kind, raw, 3)
    assert found.shape == (3, 2 * LAYOUTS[kind][1]) and found.max() <= LAYOUTS[kind][2]
    assert (codes.with_codes(kind, raw, found) == raw).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 2**32))
def test_writing_codes_does_not_change_the_grid(kind: str, seed: int) -> None:
    raw = block(kind, 4, seed)
    new = np.random.default_rng(seed).integers(0, LAYOUTS[kind][2] + 1, (2, 2 * LAYOUTS[kind][1]), np.uint8)
    made = codes.with_codes(kind, raw, new)
    assert (codes.codes(kind, made, 2) == new).all()
    before, after = codes.grid(kind, raw, 2), codes.grid(kind, made, 2)
    assert (before.scale == after.scale).all() and (before.zero == after.zero).all()


def test_a_block_computed_by_hand() -> None:
    raw = np.zeros(18, np.uint8)
    raw[:2] = np.frombuffer(np.array([0.5], "<f2").tobytes(), np.uint8)
    raw[2] = 0x3F
    places = codes.grid("Q4_0", raw, 1)
    found = codes.codes("Q4_0", raw, 1) * places.scale - places.zero
    assert found[0, 0] == 0.5 * (15 - 8) and found[0, 16] == 0.5 * (3 - 8) and found[0, 1] == -4


def test_a_type_without_a_layout_raises_key_error() -> None:
    with pytest.raises(KeyError, match="IQ4_XS"):
        codes.grid("IQ4_XS", np.zeros(136, np.uint8), 1)


def correlated(columns: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(4 * columns, columns)) @ random.normal(size=(columns, columns))
    return inputs.T @ inputs / len(inputs)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_gptq_reduces_the_output_error_for_correlated_inputs(seed: int) -> None:
    random = np.random.default_rng(seed)
    weights = random.normal(size=(16, 160)).astype(np.float32)
    scale = np.full(weights.shape, 0.4, np.float32)
    places, moment = Grid(scale, 8 * scale, 15), correlated(160, seed)
    nearest = np.clip(np.rint((weights + places.zero) / scale), 0, 15).astype(np.uint8)
    made = gptq.gptq(weights, places, moment)
    assert made.max() <= 15
    lost = [gptq.loss(weights, places, found, moment) for found in (nearest, made)]
    assert lost[1] < 0.8 * lost[0]


def test_gptq_rounds_to_nearest_for_independent_inputs() -> None:
    weights = np.random.default_rng(1).normal(size=(4, 32)).astype(np.float32)
    scale = np.full(weights.shape, 0.5, np.float32)
    made = gptq.gptq(weights, Grid(scale, 8 * scale, 15), np.eye(32))
    assert (made == np.clip(np.rint(weights / 0.5 + 8), 0, 15)).all()


def test_unused_inputs_and_zero_scales_are_handled() -> None:
    weights = np.ones((2, 32), np.float32)
    zero = np.zeros_like(weights)
    made = gptq.gptq(weights, Grid(zero, zero, 15), np.zeros((32, 32)))
    assert made.shape == weights.shape and made.max() <= 15


def test_codes_without_a_lower_loss_are_not_used() -> None:
    raw = block("Q4_0", 2, 3)
    places = codes.grid("Q4_0", raw, 1)
    exact = codes.codes("Q4_0", raw, 1) * places.scale - places.zero
    assert (gptq.better_codes("Q4_0", raw, exact, correlated(64, 0)) == raw).all()
