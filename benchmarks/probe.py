"""Read the speed of the processors by work that never changes.

A shared host may run at another speed for minutes: its other machines take clock, caches and memory bandwidth, and no
counter of this machine tells. A benchmark that compares runs of different minutes reads the speed before and after
each run, and sets runs aside in which the host itself was faster or slower.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 2.0


def speed_probe() -> float:
    """Return the milliseconds that a fixed unit of work takes when each processor does one at a time.

    A unit is a product of two matrices, which the clock limits, and a sum over 16 MB, which the memory limits. The
    lower quartile of many short units is what an undisturbed unit takes (Chen and Revels, arXiv:1608.04295).
    """
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", "from benchmarks.probe import units; print(units())"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env={**os.environ, **single},
        )
        for _ in os.sched_getaffinity(0)
    ]
    return statistics.fmean(float(one.communicate()[0]) for one in running)


def units() -> float:
    """Repeat the unit for SECONDS, and return the lower quartile of its times in milliseconds."""
    import numpy as np

    draw = np.random.default_rng(0)
    square = draw.random((256, 256), dtype=np.float32)
    long = draw.random(4 << 20, dtype=np.float32)
    times = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        begun = time.perf_counter()
        square @ square
        long.sum()
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.quantiles(times, n=4)[0]
