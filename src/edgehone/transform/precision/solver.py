"""The multiple-choice knapsack: one choice for each item, least cost in all, within a budget of bytes.

The Lagrangian bound comes first: with a price on bytes each item is chosen by itself, and the price at which the budget
is just spent gives a lower bound of the cost (Sinha and Zoltners, "The Multiple-Choice Knapsack Problem", Operations
Research 27, 1979). A greedy fill gives a solution. What a choice costs above its item's best at that price is a penalty
that no solution can win back, so choices whose penalty exceeds the gap between both are out (Pisinger, "A minimal
algorithm for the multiple-choice knapsack problem", EJOR 83, 1995). Dynamic programming over the few that are left
then finds the best; only if its states had to be cut is the answer not proven, and `gap` says by how much it may miss.
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

# States that the dynamic programming holds at once. Tensors of equal shape share their sizes, so models need few.
MAX_STATES = 4096

Choices = Sequence[tuple[int, float]]  # of one item: size in bytes and cost of each


@dataclass(frozen=True)
class Solution:
    """`chosen`: a place in each item's choices; their `size` and `cost`; at most `gap` above the least cost."""

    chosen: tuple[int, ...]
    size: int
    cost: float
    gap: float


def solve(items: Sequence[Choices], budget: int) -> Solution:
    """The choices of least cost whose sizes add up to at most `budget`.

    Sizes are whole numbers of at least 0, costs finite. Raises InputError where even the smallest choices take more.
    """
    least = sum(min(size for size, _ in item) for item in items)
    if least > budget:
        raise InputError(
            f"{budget:,} bytes are too few for these weights: {least:,} are the least possible",
            hint="allow more bytes, or leave it to a recipe of fewer bits: edgehone recommend MODEL lists them",
        )
    start, steps = _hulls(items)
    price, chosen = _greedy(items, start, steps, budget)
    greedy = _solution(items, chosen, 0.0)
    bound = sum(min(cost + price * size for size, cost in item) for item in items) - price * budget
    # With room for all, or where the greedy fill meets the bound but for rounding, nothing can be better.
    slack = 1e-12 * max(1.0, abs(greedy.cost), price * budget)
    if price == 0.0 or greedy.cost - bound <= slack:
        return greedy
    return _exact(items, budget, price, greedy, bound)


def _hulls(items: Sequence[Choices]) -> tuple[list[int], list[tuple[float, int, int, int]]]:
    """Each item's smallest choice, and all steps up the lower convex hulls, the best gain for a byte first.

    A step is (gain a byte, item, from, to).
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
    # Stable: of one item the steps stay in order, for along a hull the gains fall.
    steps.sort(key=lambda step: -step[0])
    return start, steps


def _gain(item: Choices, low: int, high: int) -> float:
    (small, dear), (large, cheap) = item[low], item[high]
    return (dear - cheap) / (large - small) if large > small else math.inf


def _greedy(
    items: Sequence[Choices], start: Sequence[int], steps: Sequence[tuple[float, int, int, int]], budget: int
) -> tuple[float, list[int]]:
    """The price of a byte where the budget is spent (0 where all fits), and the steps taken that fit."""
    chosen = list(start)
    left = budget - sum(item[at][0] for item, at in zip(items, chosen, strict=True))
    price = 0.0
    for gain, number, low, high in steps:
        takes = items[number][high][0] - items[number][low][0]
        if chosen[number] != low:
            continue
        if takes <= left:
            chosen[number] = high
            left -= takes
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
    """Dynamic programming over the choices whose penalty leaves hope, item by item, dominated states dropped."""
    import numpy as np

    best = [min(cost + price * size for size, cost in item) for item in items]
    gap = (greedy.cost - bound) * (1 + 1e-9)
    kept = [
        [at for at, (size, cost) in enumerate(item) if cost + price * size - floor <= gap]
        for item, floor in zip(items, best, strict=True)
    ]
    core = [number for number, places in enumerate(kept) if len(places) > 1]
    chosen = [places[0] for places in kept]
    fixed = sum(items[n][chosen[n]][0] for n, places in enumerate(kept) if len(places) == 1)
    sizes, excess = np.array([fixed], np.int64), np.zeros(1)
    after = [(min(items[n][at][0] for at in kept[n]), max(items[n][at][0] for at in kept[n])) for n in core]
    fewest, most = sum(low for low, _ in after), sum(high for _, high in after)
    trail: list[tuple[NDArray[np.int32], NDArray[np.int16]]] = []
    cut = False
    for number, (low, high) in zip(core, after, strict=True):
        fewest, most = fewest - low, most - high
        choices = [items[number][at] for at in kept[number]]
        grown = np.concatenate([sizes + size for size, _ in choices])
        paid = np.concatenate([excess + max(0.0, c + price * s - best[number]) for s, c in choices])
        # What is certain to be left unspent costs its price too.
        unspent = np.maximum(budget - most - grown, 0)
        alive = np.flatnonzero((grown + fewest <= budget) & (paid + price * unspent <= gap))
        alive = alive[_undominated(grown[alive], paid[alive] - price * grown[alive])]
        if len(alive) > MAX_STATES:
            cut = True
            alive = np.sort(alive[np.argsort(paid[alive], kind="stable")[:MAX_STATES]])
        trail.append(((alive % len(sizes)).astype(np.int32), (alive // len(sizes)).astype(np.int16)))
        sizes, excess = grown[alive], paid[alive]
    if len(sizes):
        at = int(np.argmin(excess - price * sizes))
        for number, (parents, taken) in zip(reversed(core), reversed(trail), strict=True):
            chosen[number] = kept[number][int(taken[at])]
            at = int(parents[at])
        found = _solution(items, chosen, 0.0)
        greedy = found if found.cost < greedy.cost else greedy
    return _solution(items, greedy.chosen, max(0.0, greedy.cost - bound) if cut else 0.0)


def _undominated(sizes: NDArray[np.int64], costs: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places of the states of which no other is at most as large and at most as costly."""
    import numpy as np

    order = np.lexsort((costs, sizes))
    sorted_costs = costs[order]
    before = np.concatenate([[np.inf], np.minimum.accumulate(sorted_costs)[:-1]])
    return np.asarray(order[sorted_costs < before])


def _solution(items: Sequence[Choices], chosen: Sequence[int], gap: float) -> Solution:
    taken = [item[at] for item, at in zip(items, chosen, strict=True)]
    return Solution(tuple(chosen), sum(size for size, _ in taken), sum(cost for _, cost in taken), gap)
