"""The Pareto frontier: what no other point beats in one objective without losing in another."""

from __future__ import annotations

from collections.abc import Sequence


def frontier(points: Sequence[Sequence[float | None]], maximise: Sequence[bool]) -> list[bool]:
    """Whether each point is on the frontier; `maximise` says for each objective if more is better.

    A point with a missing objective (None or NaN) never dominates and is never on the frontier. Equal points
    all stay. Points are taken in order of the sum of their ranks, each of which no later one can dominate;
    each that stands removes what it dominates, so the cost is O(n · frontier), without n² memory.
    Raises ValueError when a point has not one value for each objective.
    """
    import numpy as np

    count = len(maximise)
    if any(len(point) != count for point in points):
        raise ValueError(f"each point needs {count} objectives")
    if not points or not count:
        return [False] * len(points)
    values = np.array([[np.nan if v is None else v for v in point] for point in points], dtype=np.float64)
    values[:, np.asarray(maximise, dtype=bool)] *= -1  # from here on less is better
    whole = np.flatnonzero(~np.isnan(values).any(axis=1))
    # Ranks, where equal values are equal: sums of them are exact, infinities too.
    ranks = np.column_stack([np.unique(column, return_inverse=True)[1] for column in values[whole].T])
    order = np.argsort(ranks.sum(axis=1), kind="stable")
    alive, left = whole[order], ranks[order].astype(np.int32)
    on = [False] * len(points)
    while alive.size:
        first = left[0]
        equal = (left == first).all(axis=1)
        for index in alive[equal]:
            on[index] = True
        keep = (left < first).any(axis=1)
        alive, left = alive[keep], left[keep]
    return on
