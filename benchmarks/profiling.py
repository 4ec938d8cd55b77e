"""What watching costs what is watched, and what a diagnosis costs who waits for it.

The same bundle answers for a while, by turns watched as `edgehone profile` watches and not watched at all. Two figures:
how much longer its median request takes watched, over all turns of one run, which a restless machine hides; and the
processor time of who watches, of all that there was, which it does not.
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
    """Looks at nothing."""

    def sample(self, pid: int) -> None:
        """Nothing."""


def main() -> list[Row]:
    """Three rows."""
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
