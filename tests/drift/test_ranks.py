"""Ranks: p-values are uniform and independent under exchangeability, whatever the distribution and the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.drift import ranks

_SIZE = 8


@given(
    st.lists(st.integers(0, _SIZE - 1), max_size=30),
    st.lists(st.one_of(st.just(ranks.BINS), st.integers(0, _SIZE - 1)), min_size=1, max_size=20),
    st.floats(0, 1, exclude_max=True),
)
def test_p_values_are_those_of_the_definition(pool: list[int], batch: list[int], theta: float) -> None:
    counts = np.zeros((1, ranks.BINS), np.int64)
    for one in pool:
        counts[0, one] += 1
    found = ranks.p_values(np.array([batch]), counts, np.full((1, len(batch)), theta))[0]
    seen = list(pool)
    for one, p in zip(batch, found, strict=True):
        if one == ranks.BINS:
            assert np.isnan(p)
            continue
        below, equal = sum(other < one for other in seen), seen.count(one)
        assert p == pytest.approx((below + theta * (equal + 1)) / (len(seen) + 1))
        seen.append(one)


@pytest.mark.parametrize("discrete", [False, True])
def test_p_values_are_uniform_and_independent_with_a_tiny_reference(discrete: bool) -> None:
    random = np.random.default_rng(1)
    runs, size = 4000, 8
    draw = random.geometric(0.4, (runs, 60)).astype(float) if discrete else random.lognormal(0, 2, (runs, 60))
    p = np.empty((runs, 2 * size))
    for run, values in enumerate(draw):
        edges = [ranks.edges_of(values[:20])]
        counts = ranks.count(ranks.bins_of(values[20:40, None], edges))
        for batch in range(2):
            bins = ranks.bins_of(values[40 + batch * size : 40 + (batch + 1) * size, None], edges)
            p[run, batch * size : (batch + 1) * size] = ranks.p_values(
                bins, counts, random.random((1, size))
            )[0]
            counts += ranks.count(bins)
    grid = np.linspace(0.05, 0.95, 19)
    distribution = (p[:, :, None] <= grid).mean(0)
    assert np.abs(distribution - grid).max() < 5 * np.sqrt(0.25 / runs)
    correlation = np.corrcoef(p.T) - np.eye(2 * size)
    assert np.abs(correlation).max() < 5 / np.sqrt(runs)


def test_a_value_equal_to_an_edge_belongs_below_it() -> None:
    edges = [ranks.edges_of(np.array([1.0, 2.0, np.nan, 3.0]))]
    assert edges[0].tolist() == [1, 2, 3]
    values = np.array([[0.0], [1.0], [1.5], [3.0], [9.0], [np.nan]])
    assert ranks.bins_of(values, edges).tolist() == [[0, 0, 1, 2, 3, ranks.BINS]]
