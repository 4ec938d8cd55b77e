"""The Pareto frontier: the points that no other point dominates.

A point dominates another if it is at least as good in every objective and better in one. Each point is compared with
all others: a search has 5 to 500 candidates, for which this takes milliseconds (benchmarks/frontier.py).
"""

from __future__ import annotations

from collections.abc import Sequence


def frontier(points: Sequence[Sequence[float | None]], maximise: Sequence[bool]) -> list[bool]:
    """Return for each point whether it is on the frontier; `maximise` says for each objective whether more is better.

    A point with a missing objective (None or NaN) never dominates and is never on the frontier. Of equal points all
    are on it or none. Raises ValueError if a point does not have one value for each objective.
    """
    import numpy as np

    count = len(maximise)
    if any(len(point) != count for point in points):
        raise ValueError(f"each point needs {count} objectives")
    if not points or not count:
        return [False] * len(points)
    values = np.array(points, dtype=np.float64)  # None becomes NaN, for which every comparison is false
    values[:, np.asarray(maximise, dtype=bool)] *= -1  # from here on less is better
    complete = ~np.isnan(values).any(axis=1)
    dominated = [((values <= row).all(axis=1) & (values < row).any(axis=1)).any() for row in values]
    return [bool(one) for one in complete & ~np.array(dominated)]
