"""Types whose weights are looked up in a table: their bytes, the nearest entries, and GPTQ with descent on them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.backends.llamacpp import descent, gptq, lookup, nearest, scales
from edgehone.backends.llamacpp.lookup import TABLES, UNIT
from edgehone.backends.shared import gptq as shared
from tests.backends.llamacpp.test_gptq import correlated

library = pytest.importorskip("gguf")
KINDS = sorted(TABLES)
ENTRIES = [kind for kind in KINDS if TABLES[kind].width > 1]
SEEDS = st.integers(0, 2**32)


def block(kind: str, count: int, seed: int) -> Any:
    """Return random bytes of `count` blocks whose step is small and finite."""
    raw = np.random.default_rng(seed).integers(0, 256, (count, TABLES[kind].size), dtype=np.uint8)
    raw[:, :2] = np.frombuffer(np.array([0.01], "<f2").tobytes(), np.uint8)
    return raw.reshape(-1)


def decoded(kind: str, raw: Any, rows: int) -> Any:
    """The weights as gguf-py decodes them."""
    return library.dequantize(raw.reshape(-1, TABLES[kind].size), library.GGMLQuantizationType[kind]).reshape(
        rows, -1
    )


def scale_of(kind: str, raw: Any, rows: int) -> Any:
    """The scale of each weight [rows, columns]."""
    found = scales.read(kind, raw, rows)
    each = np.repeat(found.step, len(found.integers) // len(found.step), 0) * found.integers
    return np.repeat(each, scales.FORMS[kind].group, 0).T


def lost(kind: str, raw: Any, weights: Any, factor: shared.Factor) -> Any:
    """The squared output error of each row."""
    error = decoded(kind, raw, len(weights)) - weights
    return shared.losses(np.ascontiguousarray(error.T[factor.order]), factor.damped)


@settings(max_examples=21, deadline=None)
@given(st.sampled_from(KINDS), SEEDS)
def test_values_and_scales_are_those_that_gguf_decodes(kind: str, seed: int) -> None:
    raw = block(kind, 6, seed)
    own = lookup.values(kind, raw, 3) * scale_of(kind, raw, 3)
    np.testing.assert_allclose(own, decoded(kind, raw, 3), rtol=1e-5, atol=1e-9)


@settings(max_examples=21, deadline=None)
@given(st.sampled_from(KINDS), SEEDS)
def test_reading_and_writing_preserve_the_bytes(kind: str, seed: int) -> None:
    raw = block(kind, 6, seed)
    assert (lookup.with_values(kind, raw, lookup.values(kind, raw, 3)) == raw).all()
    assert (scales.written(kind, raw, scales.read(kind, raw, 3)) == raw).all()


@settings(max_examples=21, deadline=None)
@given(st.sampled_from(KINDS), SEEDS)
def test_other_values_and_scales_are_decoded_as_intended(kind: str, seed: int) -> None:
    raw, other = block(kind, 6, seed), block(kind, 6, seed + 1)
    new, wanted = lookup.values(kind, other, 3), scales.read(kind, other, 3)
    wanted.step *= np.float32(2)
    made = scales.written(kind, lookup.with_values(kind, raw, new), wanted)
    np.testing.assert_allclose(decoded(kind, made, 3), 2 * decoded(kind, other, 3), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", ENTRIES)
def test_entries_are_near_the_best_of_all(kind: str) -> None:
    """In a metric without correlations and signs that are even by themselves the best is found."""
    random, table = np.random.default_rng(5), lookup.grid(kind)
    metric = np.diag(random.uniform(0.5, 2, UNIT)).astype(np.float32)
    magnitudes = random.uniform(0, table.max(), (UNIT, 40)).astype(np.float32)
    found = nearest.nearest(kind, magnitudes, metric)
    width = TABLES[kind].width
    for row in range(40):
        parts = []
        for at in range(0, UNIT, width):
            own = np.diag(metric)[at : at + width]
            cost = (own * (table - magnitudes[at : at + width, row]) ** 2).sum(1)
            parts.append(table[np.argmin(cost)])
        np.testing.assert_array_equal(found[:, row], np.concatenate(parts))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(ENTRIES), SEEDS)
def test_nearest_values_exist_and_exact_ones_stay(kind: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    metric = correlated(UNIT, seed) + np.eye(UNIT, dtype=np.float32)
    rows = TABLES[kind].block // UNIT
    targets = random.normal(size=(UNIT, rows)).astype(np.float32) * lookup.grid(kind).mean()
    found = nearest.nearest(kind, targets, metric)
    raw = block(kind, 1, seed)
    made = lookup.with_values(kind, raw, found.T.astype(np.int8).reshape(1, -1))
    assert (lookup.values(kind, made, 1).reshape(rows, UNIT) == found.T).all()
    assert (nearest.nearest(kind, found, metric) == found).all()


def test_an_odd_number_of_signs_costs_the_least_weight() -> None:
    targets = np.full((UNIT, 1), 20.0, np.float32)
    targets[3] = -1.0  # alone negative, and nearly nothing
    found = nearest.nearest("IQ2_XS", targets, np.eye(UNIT, dtype=np.float32))
    assert (found > 0).all()


def test_scalars_are_the_nearest_of_sixteen() -> None:
    targets = np.random.default_rng(0).uniform(-300, 300, 5000).astype(np.float32)
    levels = lookup.grid("IQ4_NL")[:, 0]
    best = np.abs(targets[:, None] - levels).min(1)
    np.testing.assert_array_equal(np.abs(targets - nearest.nearest_scalars(targets)), best)


@pytest.mark.parametrize("kind", KINDS)
def test_gptq_and_every_sweep_lower_the_error(kind: str) -> None:
    columns, seed = 256, KINDS.index(kind)
    factor = shared.factor(correlated(columns, seed), unit=UNIT)
    raw = block(kind, 3 * columns // TABLES[kind].block, seed)
    spread = scale_of(kind, raw, 3).std() * lookup.grid(kind).std() or 1.0
    weights = np.random.default_rng(seed).normal(size=(3, columns)).astype(np.float32) * spread
    rounded = gptq.better_codes(kind, raw, weights, factor)
    once = descent.descend(kind, rounded, weights, factor, 1)
    twice = descent.descend(kind, once, weights, factor, 1)
    errors = [lost(kind, one, weights, factor) for one in (raw, rounded, once, twice)]
    for before, after in itertools.pairwise(errors):
        assert (after <= before * 1.001 + 1e-9).all()
    assert errors[2].sum() < 0.5 * errors[0].sum()  # random values leave much to gain
    assert (scale_of(kind, rounded, 3) == scale_of(kind, raw, 3)).all()


def test_units_stay_together_in_the_order_of_columns() -> None:
    found = shared.factor(correlated(64, 1), unit=UNIT).order.reshape(-1, UNIT)
    assert (np.diff(found, axis=1) == 1).all() and (found[:, 0] % UNIT == 0).all()
    assert sorted(found[:, 0]) == list(range(0, 64, UNIT))
