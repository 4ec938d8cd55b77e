"""Quantiles of what a histogram has counted."""

from __future__ import annotations

import math
from collections.abc import Sequence


def interpolated(q: float, buckets: Sequence[tuple[float, float]]) -> float:
    """Return a quantile of cumulative counts by their upper bounds, as histogram_quantile of Prometheus does."""
    if len(buckets) < 2 or buckets[-1][0] != math.inf or not buckets[-1][1]:
        return math.nan
    counts, most = [], 0.0
    for _, count in buckets:
        most = max(most, count)  # a scrape may come between the increments of two buckets
        counts.append(most)
    rank = q * counts[-1]
    at = next(index for index, count in enumerate(counts) if count >= rank)
    if at == len(buckets) - 1:
        return buckets[-2][0]
    low, below = (buckets[at - 1][0], counts[at - 1]) if at else (0.0, 0.0)
    if counts[at] == below:
        return low
    return low + (buckets[at][0] - low) * (rank - below) / (counts[at] - below)
