"""The multiple-choice knapsack: compared with brute force; bounds and budgets."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.core.errors import InputError
from edgehone.transform.precision import solver
from edgehone.transform.precision.solver import solve

ITEM = st.lists(
    st.tuples(st.integers(0, 40), st.floats(0, 10, allow_subnormal=False)), min_size=1, max_size=4
)
ITEMS = st.lists(ITEM, min_size=1, max_size=5)


def best(items: list[list[tuple[int, float]]], budget: int) -> float:
    """Return the least cost within the budget, by brute force."""
    costs = [
        sum(cost for _, cost in taken) for taken in product(*items) if sum(s for s, _ in taken) <= budget
    ]
    return min(costs)


@settings(max_examples=300, deadline=None)
@given(ITEMS, st.integers(0, 120))
def test_the_cost_equals_that_of_brute_force(items: list[list[tuple[int, float]]], more: int) -> None:
    budget = sum(min(size for size, _ in item) for item in items) + more
    found = solve(items, budget)
    assert found.gap == 0.0
    taken = [item[at] for item, at in zip(items, found.chosen, strict=True)]
    assert found.size == sum(size for size, _ in taken) <= budget
    assert found.cost == pytest.approx(sum(cost for _, cost in taken))
    assert found.cost == pytest.approx(best(items, budget), rel=1e-9, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(ITEMS, st.integers(0, 60), st.integers(0, 60))
def test_a_larger_budget_never_costs_more(
    items: list[list[tuple[int, float]]], more: int, still: int
) -> None:
    budget = sum(min(size for size, _ in item) for item in items) + more
    assert solve(items, budget + still).cost <= solve(items, budget).cost + 1e-9


def test_a_budget_that_is_too_small_raises_with_the_minimum_bytes() -> None:
    with pytest.raises(InputError, match="29 bytes are too few for these weights: 30 are the least"):
        solve([[(10, 1.0), (20, 0.0)], [(20, 3.0)]], 29)


def test_the_optimum_is_found_where_the_greedy_solution_is_worse() -> None:
    # The first item's step has the higher gain per byte, but leaves no room for the second's, which gains more.
    assert solve([[(0, 6.0), (1, 0.0)], [(0, 50.0), (10, 0.0)]], 10).chosen == (0, 1)


def test_truncated_states_report_a_gap_that_bounds_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    items = [
        [
            (int(size), float(cost))
            for size, cost in zip(random.integers(1, 99, 4), random.random(4), strict=True)
        ]
        for _ in range(12)
    ]
    budget = sum(min(size for size, _ in item) for item in items) + 150
    exact = solve(items, budget)
    monkeypatch.setattr(solver, "MAX_STATES", 2)
    rough = solve(items, budget)
    assert exact.gap == 0.0 and exact.cost <= rough.cost <= exact.cost + rough.gap + 1e-12


def test_thousands_of_tensors_nearly_exhaust_the_budget() -> None:
    random = np.random.default_rng(1)
    shapes = random.integers(10**5, 10**8, 9)
    items = []
    for number in range(2000):
        weights, kl = int(shapes[number % 9]), float(np.exp(random.normal(-9, 1.5)))
        items.append(
            [(int(weights * bits / 8), kl * 4.0 ** (4 - bits)) for bits in (2.6, 3.4, 4.5, 5.5, 6.6, 8.5)]
        )
    budget = int(sum(item[-1][0] for item in items) * 0.55)
    found = solve(items, budget)
    assert 0.9999 * budget < found.size <= budget
    assert found.gap <= 1e-4 * found.cost
