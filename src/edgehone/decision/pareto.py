"""The Pareto frontier: what no other point beats in one objective without losing in another.

By divide and conquer (Kung, Luccio and Preparata, "On Finding the Maxima of a Set of Vectors", 1975): points are put in
an order in which only earlier ones can dominate, each half is solved, and the first half's frontier thins the second.
That costs O(n · log(n)^(objectives - 2)) even where every point is on the frontier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ranks = NDArray[np.int32]
    Marks = NDArray[np.bool_]

# Below so many comparisons all pairs at once are faster than halving on.
_PAIRS = 1 << 16


def frontier(points: Sequence[Sequence[float | None]], maximise: Sequence[bool]) -> list[bool]:
    """Whether each point is on the frontier; `maximise` says for each objective if more is better.

    A point with a missing objective (None or NaN) never dominates and is never on the frontier. Equal points all stay.
    Raises ValueError when a point has not one value for each objective.
    """
    import numpy as np

    count = len(maximise)
    if any(len(point) != count for point in points):
        raise ValueError(f"each point needs {count} objectives")
    if not points or not count:
        return [False] * len(points)
    values = np.array(points, dtype=np.float64)  # None becomes NaN
    values[:, np.asarray(maximise, dtype=bool)] *= -1  # from here on less is better
    whole = ~np.isnan(values).any(axis=1)
    # Ranks, where equal values are equal, infinities too.
    ranks = [np.unique(column, return_inverse=True)[1] for column in values[whole].T]
    # Sorted by all objectives, one after the other, only what comes earlier can be as good in each.
    distinct, which = np.unique(np.column_stack(ranks).astype(np.int32), axis=0, return_inverse=True)
    on = np.zeros(len(points), dtype=bool)
    on[whole] = _undominated(distinct[:, 1:])[which.ravel()]
    return [bool(one) for one in on]


def _undominated(points: Ranks) -> Marks:
    """Which points no earlier one is as good as in every column."""
    import numpy as np

    count, columns = points.shape
    if not columns:
        return np.asarray(np.arange(count) == 0)
    if columns == 1:
        best = np.minimum.accumulate(points[:, 0])
        return np.concatenate([np.ones(min(count, 1), bool), points[1:, 0] < best[:-1]])
    if count * count <= _PAIRS:
        return np.asarray(~np.triu(_as_good(points, points), 1).any(axis=0), dtype=bool)
    half = count // 2
    first, second = points[:half], points[half:]
    stays = np.empty(count, dtype=bool)
    stays[:half] = _undominated(first)
    left = np.flatnonzero(~_beaten(first[stays[:half]], second))
    stays[half:] = False
    stays[half + left[_undominated(second[left])]] = True
    return stays


def _as_good(winners: Ranks, points: Ranks) -> Marks:
    """Which winner is as good in every column as which point, [winners, points]."""
    found: Marks = winners[:, None, 0] <= points[:, 0]
    for column in range(1, points.shape[1]):
        found &= winners[:, None, column] <= points[:, column]
    return found


def _beaten(winners: Ranks, points: Ranks) -> Marks:
    """Which points some winner is as good as in every column (two at least)."""
    import numpy as np

    found = np.zeros(len(points), dtype=bool)
    by_last = [np.argsort(rows[:, -2], kind="stable") for rows in (winners, points)]
    found[by_last[1]] = _thin(winners[by_last[0]], points[by_last[1]])
    return found


def _thin(winners: Ranks, points: Ranks) -> Marks:
    """The same of rows that are sorted by the last column but one."""
    import numpy as np

    if not len(winners) or not len(points):
        return np.zeros(len(points), dtype=bool)
    if points.shape[1] == 2:
        best = np.minimum.accumulate(winners[:, 1])
        before = np.searchsorted(winners[:, 0], points[:, 0], side="right")
        return (before > 0) & (best[before - 1] <= points[:, 1])
    if len(winners) * len(points) <= _PAIRS:
        return np.asarray(_as_good(winners, points).any(axis=0), dtype=bool)
    pivot = np.median(points[:, 0])
    if (points[:, 0] <= pivot).all():
        pivot -= 1
        if (points[:, 0] > pivot).all():  # one value in the first column
            return _thin(winners[winners[:, 0] <= pivot + 1][:, 1:], points[:, 1:])
    low, below = winners[:, 0] <= pivot, points[:, 0] <= pivot
    found = np.empty(len(points), dtype=bool)
    found[below] = _thin(winners[low], points[below])
    beaten = _thin(winners[low][:, 1:], points[~below][:, 1:])
    above = np.flatnonzero(~below)
    found[above] = beaten
    left = above[~beaten]
    found[left] = _thin(winners[~low], points[left])
    return found
