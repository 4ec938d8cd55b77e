"""The frontier of 500 points in 4 objectives, more than any search has: at random, and with every point on it."""

from __future__ import annotations

import time

from benchmarks.row import Row
from edgehone.decision.pareto import frontier

POINTS = 500
LIMIT = 50.0  # ms


def main() -> list[Row]:
    """Return one row per distribution of points."""
    import numpy as np

    random = np.random.default_rng(20240601)
    cube = random.random((POINTS, 4))
    normal = np.abs(random.standard_normal((POINTS, 4)))
    drawn = {"random": cube, "on a sphere": normal / np.linalg.norm(normal, axis=1, keepdims=True)}
    return [_row(name, points.tolist()) for name, points in drawn.items()]


def _row(name: str, points: list[list[float | None]]) -> Row:
    # CPU time: one thread computes without waiting, and other processes may be using the processor.
    start = time.process_time()
    found = frontier(points, [True] * 4)
    taken = (time.process_time() - start) * 1e3
    return Row(f"frontier, {name}", taken, "ms", LIMIT, f"{sum(found):,} of {POINTS:,} points are on it")
