"""The frontier of 100,000 points in 4 objectives: drawn at random, and so that every one of them is on it."""

from __future__ import annotations

import time

from benchmarks.row import Row
from edgehone.decision.pareto import frontier

POINTS = 100_000
LIMIT = 1.0


def main() -> list[Row]:
    """Return one row per distribution of points."""
    import numpy as np

    random = np.random.default_rng(20240601)
    cube = random.random((POINTS, 4))
    normal = np.abs(random.standard_normal((POINTS, 4)))
    at = np.arange(POINTS, dtype=np.float64)
    drawn = {
        "random": cube,
        "on a sphere": normal / np.linalg.norm(normal, axis=1, keepdims=True),
        "on a plane": np.column_stack([cube[:, :3], -cube[:, :3].sum(axis=1)]),
        "a staircase": np.column_stack([at, -at, at % 317, -(at % 211)]),
    }
    return [_row(name, points.tolist()) for name, points in drawn.items()]


def _row(name: str, points: list[list[float | None]]) -> Row:
    # CPU seconds, since one thread computes without waiting while other processes may use the processor too.
    begun = time.process_time()
    found = frontier(points, [True] * 4)
    taken = time.process_time() - begun
    return Row(f"frontier, {name}", taken, "s", LIMIT, f"{sum(found):,} of {POINTS:,} points are on it")
