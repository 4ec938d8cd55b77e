"""Measure the float32 compute rate of this machine, which limits the prefill of a prompt.

One core multiplies float32 matrices with numpy's BLAS, at a size that BLAS does not distribute over threads. The result
is the best round, because other processes can only slow it down, multiplied by the number of usable cores. Quantized
kernels compute in integers and can be faster, so their share of this rate can exceed 1.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from edgehone.core.figure import Figure
from edgehone.device.cached_rate import cached_rate
from edgehone.device.facts import Device

SECONDS = 0.5
UNIT = "GFLOP/s"
# Three such matrices fit in nearly every first-level cache. OpenBLAS uses several threads above 100.
_SIZE = 96
# The first round starts BLAS, and any may be interrupted for longer than `SECONDS` on a busy machine.
_LEAST_ROUNDS = 50
_PRODUCTS = 8  # per round; about 0.1 ms, short enough to run undisturbed now and then


def float_rate(device: Device, cache: Path | None = None, *, fresh: bool = False) -> Figure:
    """Measure float32 operations per second of all usable cores, in GFLOP/s (10⁹): the best of n rounds.

    The result is cached in the folder `cache` (see `cached_rate`), and read from there unless `fresh`.
    """
    cores = min(device.threads, device.physical_cores or device.threads)
    return cached_rate(device, cache, partial(measure, cores), fresh=fresh)


def measure(cores: int, seconds: float = SECONDS) -> Figure:
    """Return the rate of the best round of one core within `seconds`, multiplied by `cores`."""
    import numpy as np

    left = np.ones((_SIZE, _SIZE), np.float32)
    right, out = left.copy(), left.copy()
    best, rounds, start = 0.0, 0, time.perf_counter()
    while rounds < _LEAST_ROUNDS or time.perf_counter() - start < seconds:
        started = time.perf_counter()
        for _ in range(_PRODUCTS):
            np.matmul(left, right, out)
        best = max(best, _PRODUCTS * 2 * _SIZE**3 / (time.perf_counter() - started) / 1e9)
        rounds += 1
    return Figure(cores * best, n=rounds, unit=UNIT)
