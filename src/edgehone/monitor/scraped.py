"""Figures between two scrapes of a server."""

from __future__ import annotations

import math

from edgehone.monitor.exposition import samples
from edgehone.serve.measured.quantile import interpolated


def quantile_between(before: str, after: str, metric: str, q: float) -> float:
    """Return a quantile of what a histogram observed between two scrapes, over all its labels; nan if nothing."""
    counts: dict[float, float] = {}
    for text, sign in ((before, -1), (after, 1)):
        for _, labels, value in samples(text, (f"{metric}_bucket",)):
            bound = float(dict(labels)["le"])
            counts[bound] = counts.get(bound, 0.0) + sign * value
    return interpolated(q, sorted(counts.items())) if counts else math.nan
