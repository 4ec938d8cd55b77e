"""Measure the memory read bandwidth of this machine, which limits decoding of models larger than the caches.

Threads scan buffers far larger than the caches with memchr of the C library for a byte that does not occur. memchr is
vectorized on every platform, reads each byte once, writes nothing, and runs without Python's global lock. The best
round is used, because other processes can only slow it down. A scan needs almost no arithmetic, so this is the memory
roof of the roofline model (Williams et al., "Roofline", 2009).
"""

from __future__ import annotations

import ctypes
import threading
import time
from functools import partial
from pathlib import Path

from edgehone.core.figure import Figure
from edgehone.device.cached_rate import cached_rate
from edgehone.device.facts import Device

SECONDS = 2.0
UNIT = "GB/s"
# Total size of the buffers. It is larger if the last-level cache is large, but at most a quarter of free memory.
_BYTES = 256 << 20
_CACHES = 8
_ROUNDS = 3


def read_bandwidth(
    device: Device, cache: Path | None = None, *, fresh: bool = False, seconds: float = SECONDS
) -> Figure:
    """Measure the bytes per second read by all usable threads, in GB/s (10⁹): the best of n rounds.

    The result is cached in the folder `cache` (see `cached_rate`), and read from there unless `fresh`. The figure is
    missing, with a reason, if too little memory is free for buffers larger than the caches.
    """
    return cached_rate(device, cache, partial(_measure_device, device, seconds), fresh=fresh)


def _measure_device(device: Device, seconds: float) -> Figure:
    size = max(_BYTES, _CACHES * max(device.caches.values(), default=0))
    free = device.memory_available_bytes
    if free is not None and size > free // 4:
        return Figure.missing(
            f"only {free >> 20} MiB are free, too little for buffers larger than the caches", UNIT
        )
    return measure(size // device.threads, device.threads, seconds)


def measure(size: int, threads: int, seconds: float = SECONDS) -> Figure:
    """Return the best of all rounds within `seconds`, at least three. Each thread reads `size` bytes per round."""
    scan = _scanner()
    buffers = [ctypes.create_string_buffer(b"\x01" * size, size) for _ in range(threads)]
    best, rounds, start = 0.0, 0, time.perf_counter()
    while rounds < _ROUNDS or time.perf_counter() - start < seconds:
        workers = [threading.Thread(target=scan, args=(buffer, 0, size)) for buffer in buffers]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, threads * size / (time.perf_counter() - started) / 1e9)
        rounds += 1
    return Figure(best, n=rounds, unit=UNIT)


def _scanner() -> ctypes._NamedFuncPointer:
    scan = ctypes.CDLL(None).memchr
    scan.restype = ctypes.c_void_p
    scan.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    return scan
