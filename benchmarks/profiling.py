"""Overhead of `edgehone profile` for the observed process, and time of `edgehone diagnose`.

The same bundle answers requests in alternating periods, with and without the sampling of `edgehone profile`. Two
figures: how much longer the median request takes with sampling, which noise on a shared machine can hide, and the CPU
time of the sampling process as a share of all CPU time, which noise does not hide.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import edgehone
from benchmarks.row import Row, medians
from edgehone.model.demo import demo_model
from edgehone.profiling import profile
from edgehone.profiling.watch import SystemWatch

TURNS = 5
SECONDS = 6.0
OFF = ("speedup=off", "memory_cut=off", "latency_cv=off", "accuracy_kept=off")


class Blind(SystemWatch):
    """A watch that samples nothing."""

    def sample(self, pid: int) -> None:
        """Return an empty result."""


def main() -> list[Row]:
    """Return three rows."""
    with tempfile.TemporaryDirectory() as place:
        bundle = Path(place) / "bundle"
        edgehone.optimize(demo_model(), backends=["llamacpp"], effort="quick", gates=OFF, out=bundle)
        watched, blind = list[float](), list[float]()
        own = 0.0
        for turn in range(TURNS):
            pairs = [(SystemWatch, watched), (Blind, blind)]
            for watch, found in pairs if turn % 2 else pairs[::-1]:
                begun = time.process_time()
                made = profile(bundle, seconds=SECONDS, operators=False, watch=watch)
                own += (time.process_time() - begun) if watch is SystemWatch else 0.0
                found.append(made.figures["latency_p50_ms"].value or 0.0)
        share = 100 * own / (TURNS * SECONDS * (os.cpu_count() or 1))
        slower = 100 * (median(watched) / median(blind) - 1)
        spread = 100 * (max(blind) / min(blind) - 1)
        command = [sys.executable, "-m", "edgehone.cli.main", "diagnose", str(bundle)]
        (seconds,) = medians([command], 5)
    return [
        Row("watching slows", slower, "%", 3, f"unwatched turns differ by {spread:.1f} %"),
        Row("watching takes", share, "%", 3, "of the processors, starting the jobs included"),
        Row("diagnose a bundle", seconds, "s", 1),
    ]
