"""The speed of the processor, by work that never changes.

A shared host, or a processor that gets hot, may become slower for minutes without a trace in counters. What is compared
over time is compared with this work, too.
"""

from __future__ import annotations

import time
from statistics import quantiles

_UNITS = 12


def unit_ms() -> float:
    """Return the milliseconds of a fixed unit of work on one processor, the lower quartile of 12 of them.

    A unit is sines, which the clock limits, and a sum over 4 MB, which caches and memory limit. It takes about 1 ms.
    """
    import numpy as np

    angles = np.linspace(0.0, 1.0, 20_000)
    long = np.ones(1 << 20, np.float32)
    times = []
    for _ in range(_UNITS):
        begun = time.perf_counter()
        np.sin(angles).sum()
        long.sum()
        times.append(1000 * (time.perf_counter() - begun))
    return quantiles(times, n=4)[0]
