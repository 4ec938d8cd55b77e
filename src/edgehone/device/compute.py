"""How fast this machine multiplies: what bounds the prefill of a prompt.

numpy's float32 product of matrices that its BLAS, vectorised for the processor, leaves to one core; the best of the
rounds, as neighbours only ever slow it down, times the cores that may be used. Quantized kernels compute in integers
and may be faster: what they reach is told as a share of this, and may be above 1.
"""

from __future__ import annotations

import time
from pathlib import Path

from edgehone.core.figure import Figure
from edgehone.device.bandwidth import keep, recall
from edgehone.device.facts import Device

SECONDS = 0.5
UNIT = "GFLOP/s"
_SIZE = (
    96  # three such matrices fit any first cache but one; OpenBLAS shares products among threads above 100
)
_PRODUCTS = 8  # a round; some 0.1 ms, which a neighbour often leaves alone


def float_rate(device: Device, cache: Path | None = None, *, fresh: bool = False) -> Figure:
    """Float32 operations a second by all cores that may be used, in GFLOP/s (10⁹), n rounds; the best of them.

    Kept in `cache` by the device's fingerprint, and taken from there unless `fresh`.
    """
    if cache and not fresh and (kept := recall(device, cache)):
        return kept
    found = measure(min(device.threads, device.physical_cores or device.threads))
    if cache:
        keep(device, cache, found)
    return found


def measure(cores: int, seconds: float = SECONDS) -> Figure:
    """The best round of one core within `seconds`, times `cores`."""
    import numpy as np

    left = np.ones((_SIZE, _SIZE), np.float32)
    right, out = left.copy(), left.copy()
    best, rounds, begun = 0.0, 0, time.perf_counter()
    while not rounds or time.perf_counter() - begun < seconds:
        started = time.perf_counter()
        for _ in range(_PRODUCTS):
            np.matmul(left, right, out)
        best = max(best, _PRODUCTS * 2 * _SIZE**3 / (time.perf_counter() - started) / 1e9)
        rounds += 1
    return Figure(cores * best, n=rounds, unit=UNIT)
