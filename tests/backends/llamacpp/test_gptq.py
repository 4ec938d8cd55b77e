"""GPTQ on a fixed grid, and the codes in ggml's blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.backends.llamacpp import codes, gptq
from edgehone.backends.llamacpp.codes import LAYOUTS
from edgehone.backends.llamacpp.lookup import TABLES
from edgehone.backends.shared import gptq as shared

KINDS = sorted(LAYOUTS)


# Where the float16 values of a block are.
HALVES = {
    "Q4_0": [0],
    "Q5_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}


def block(kind: str, count: int, seed: int) -> Any:
    """Return random bytes of `count` blocks whose float16 values are small and finite."""
    raw = np.random.default_rng(seed).integers(0, 256, (count, LAYOUTS[kind][0]), dtype=np.uint8)
    for start in HALVES[kind]:
        raw[:, start : start + 2] = np.frombuffer(np.array([0.01], "<f2").tobytes(), np.uint8)
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
    return (inputs.T @ inputs / len(inputs)).astype(np.float32)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 2**32))
def test_each_row_gets_the_better_of_both_codes(kind: str, seed: int) -> None:
    raw, factor = block(kind, 6, seed), shared.factor(correlated(2 * LAYOUTS[kind][1], seed))
    places = codes.grid(kind, raw, 3)
    spread = places.scale.std() or 1.0
    weights = np.random.default_rng(seed).normal(size=places.scale.shape).astype(np.float32) * spread
    made = gptq.better_codes(kind, raw, weights, factor)

    def lost(found: Any) -> Any:
        error = codes.codes(kind, found, 3) * places.scale - places.zero - weights
        return shared.losses(np.ascontiguousarray(error.T[factor.order]), factor.damped)

    assert (lost(made) <= lost(raw) * 1.001).all()
    assert (codes.grid(kind, made, 3).scale == places.scale).all()


def test_codes_without_a_lower_loss_are_not_used() -> None:
    raw = block("Q4_0", 2, 3)
    places = codes.grid("Q4_0", raw, 1)
    exact = codes.codes("Q4_0", raw, 1) * places.scale - places.zero
    assert (gptq.better_codes("Q4_0", raw, exact, shared.factor(correlated(64, 0))) == raw).all()


@dataclass
class Stored:
    """A tensor as gguf's reader returns it."""

    data: Any
    tensor_type: Any


def test_rows_that_a_converter_reordered_are_found() -> None:
    pytest.importorskip("gguf")
    kind = SimpleNamespace(name="F16")
    weights = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    weights[5] = weights[2]  # equal rows are interchangeable
    assert (gptq.same_rows(weights, Stored(weights.astype(np.float16), kind)) == np.arange(8)).all()
    order = np.random.default_rng(1).permutation(8)
    places = gptq.same_rows(weights, Stored(weights[order].astype(np.float16), kind))
    assert sorted(places) == list(range(8)) and (weights[places] == weights[order]).all()
    changed = weights.astype(np.float16)
    changed[3] *= 2
    assert gptq.same_rows(weights, Stored(changed, kind)) is None
    assert gptq.same_rows(weights, Stored(changed[:4], kind)) is None


@pytest.mark.real
def test_codes_decode_as_ggufs_own_library_does(
    run_worker: Callable[..., dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    found = run_worker("llamacpp", "llamacppfunctions:decoded", {"halves": HALVES}, {}, tmp_path / "decoded")
    assert found.keys() == LAYOUTS.keys() | TABLES.keys() and max(found.values()) < 1e-5
