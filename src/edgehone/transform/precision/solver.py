"""The multiple-choice knapsack: one choice for each item, with the least total cost within a budget of bytes.

The Lagrangian bound comes first: given a price per byte, each item is chosen independently, and the price at which
the budget is just spent gives a lower bound of the cost (Sinha and Zoltners, "The Multiple-Choice Knapsack Problem",
Operations Research 27, 1979). A greedy fill gives a feasible solution. The amount by which a choice exceeds its
item's best at that price is a penalty that no solution can recover, so choices whose penalty exceeds the gap between
bound and greedy solution are discarded (Pisinger, "A minimal algorithm for the multiple-choice knapsack problem",
EJOR 83, 1995). Dynamic programming over the few remaining choices then finds the optimum. Only if its states had to
be truncated is the result not proven optimal; `gap` then bounds its distance from the optimum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from edgehone.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Maximum number of states in the dynamic programming. Models need few, because tensors of equal shape have equal sizes.
MAX_STATES = 4096

Choices = Sequence[tuple[int, float]]  # size in bytes and cost of each choice of one item


@dataclass(frozen=True)
class Solution:
    """The index of each item's choice (`chosen`), their total `size` and `cost`; the minimum is at most `gap` lower."""

    chosen: tuple[int, ...]
    size: int
    cost: float
    gap: float


def solve(items: Sequence[Choices], budget: int) -> Solution:
    """Return the choices of least total cost whose sizes add up to at most `budget`.

    Sizes are integers of at least 0; costs are finite. Raises InputError if even the smallest choices exceed the
    budget.
    """
    least = sum(min(size for size, _ in item) for item in items)
    if least > budget:
        raise InputError(
            f"{budget:,} bytes are too few for these weights: {least:,} are the least possible",
            hint="allow more bytes, or choose a recipe with fewer bits from `edgehone recommend MODEL`",
        )
    start, steps = _hulls(items)
    price, chosen = _greedy(items, start, steps, budget)
    greedy = _solution(items, chosen, 0.0)
    bound = sum(min(cost + price * size for size, cost in item) for item in items) - price * budget
    # The greedy solution is optimal if everything fits, or if it reaches the bound up to rounding.
    slack = 1e-12 * max(1.0, abs(greedy.cost), price * budget)
    if price == 0.0 or greedy.cost - bound <= slack:
        return greedy
    return _exact(items, budget, price, greedy, bound)


def _hulls(items: Sequence[Choices]) -> tuple[list[int], list[tuple[float, int, int, int]]]:
    """Return each item's smallest choice, and all steps along the lower convex hulls, highest gain per byte first.

    A step is (gain per byte, item, from, to).
    """
    start: list[int] = []
    steps: list[tuple[float, int, int, int]] = []
    for number, item in enumerate(items):
        order = sorted(range(len(item)), key=lambda at: item[at])
        hull = [order[0]]
        for at in order[1:]:
            if item[at][1] >= item[hull[-1]][1]:
                continue
            while len(hull) > 1 and _gain(item, hull[-2], hull[-1]) <= _gain(item, hull[-1], at):
                hull.pop()
            hull.append(at)
        start.append(hull[0])
        steps += [(_gain(item, low, high), number, low, high) for low, high in pairwise(hull)]
    # The sort is stable, and gains decrease along a hull, so each item's steps stay in order.
    steps.sort(key=lambda step: -step[0])
    return start, steps


def _gain(item: Choices, low: int, high: int) -> float:
    (small, dear), (large, cheap) = item[low], item[high]
    return (dear - cheap) / (large - small) if large > small else math.inf


def _greedy(
    items: Sequence[Choices], start: Sequence[int], steps: Sequence[tuple[float, int, int, int]], budget: int
) -> tuple[float, list[int]]:
    """Return the price per byte at which the budget is spent, and the choices after all steps that fit.

    The price is 0 if everything fits.
    """
    chosen = list(start)
    remaining = budget - sum(item[at][0] for item, at in zip(items, chosen, strict=True))
    price = 0.0
    for gain, number, low, high in steps:
        added = items[number][high][0] - items[number][low][0]
        if chosen[number] != low:
            continue
        if added <= remaining:
            chosen[number] = high
            remaining -= added
        elif price == 0.0:
            price = gain
    return price, chosen


def _exact(
    items: Sequence[Choices],
    budget: int,
    price: float,
    greedy: Solution,
    bound: float,
) -> Solution:
    """Run dynamic programming over the choices whose penalty is within the gap, item by item.

    Dominated states are dropped.
    """
    import numpy as np

    best = [min(cost + price * size for size, cost in item) for item in items]
    gap = (greedy.cost - bound) * (1 + 1e-9)
    candidates = [
        [at for at, (size, cost) in enumerate(item) if cost + price * size - floor <= gap]
        for item, floor in zip(items, best, strict=True)
    ]
    core = [number for number, indices in enumerate(candidates) if len(indices) > 1]
    chosen = [indices[0] for indices in candidates]
    fixed = sum(items[n][chosen[n]][0] for n, indices in enumerate(candidates) if len(indices) == 1)
    sizes, excess = np.array([fixed], np.int64), np.zeros(1)
    ranges = [
        (min(items[n][at][0] for at in candidates[n]), max(items[n][at][0] for at in candidates[n]))
        for n in core
    ]
    min_left, max_left = sum(low for low, _ in ranges), sum(high for _, high in ranges)
    trail: list[tuple[NDArray[np.int32], NDArray[np.int16]]] = []
    cut = False
    for number, (low, high) in zip(core, ranges, strict=True):
        min_left, max_left = min_left - low, max_left - high
        choices = [items[number][at] for at in candidates[number]]
        new_sizes = np.concatenate([sizes + size for size, _ in choices])
        new_excess = np.concatenate([excess + max(0.0, c + price * s - best[number]) for s, c in choices])
        # Bytes that are certain to remain unspent are charged at the price as well.
        unspent = np.maximum(budget - max_left - new_sizes, 0)
        surviving = np.flatnonzero((new_sizes + min_left <= budget) & (new_excess + price * unspent <= gap))
        surviving = surviving[
            _undominated(new_sizes[surviving], new_excess[surviving] - price * new_sizes[surviving])
        ]
        if len(surviving) > MAX_STATES:
            cut = True
            surviving = np.sort(surviving[np.argsort(new_excess[surviving], kind="stable")[:MAX_STATES]])
        trail.append(((surviving % len(sizes)).astype(np.int32), (surviving // len(sizes)).astype(np.int16)))
        sizes, excess = new_sizes[surviving], new_excess[surviving]
    if len(sizes):
        at = int(np.argmin(excess - price * sizes))
        for number, (parents, choice_of) in zip(reversed(core), reversed(trail), strict=True):
            chosen[number] = candidates[number][int(choice_of[at])]
            at = int(parents[at])
        solution = _solution(items, chosen, 0.0)
        greedy = solution if solution.cost < greedy.cost else greedy
    return _solution(items, greedy.chosen, max(0.0, greedy.cost - bound) if cut else 0.0)


def _undominated(sizes: NDArray[np.int64], costs: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the indices of the states for which no other state is at most as large and at most as costly."""
    import numpy as np

    order = np.lexsort((costs, sizes))
    sorted_costs = costs[order]
    before = np.concatenate([[np.inf], np.minimum.accumulate(sorted_costs)[:-1]])
    return np.asarray(order[sorted_costs < before])


def _solution(items: Sequence[Choices], chosen: Sequence[int], gap: float) -> Solution:
    taken = [item[at] for item, at in zip(items, chosen, strict=True)]
    return Solution(tuple(chosen), sum(size for size, _ in taken), sum(cost for _, cost in taken), gap)
