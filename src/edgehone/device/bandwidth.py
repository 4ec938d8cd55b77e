"""How fast this machine reads memory: what bounds the decoding of a model that does not fit the caches.

Threads scan buffers far larger than the caches with the C library's memchr, which looks for a byte that is not there:
it is vectorised on every platform, reads each byte once, writes none, and Python's lock is free meanwhile. The best
of the rounds counts, as neighbours only ever slow it down. A scan has no arithmetic to speak of, so this is the roof
of the roofline model (Williams et al., "Roofline", 2009).
"""

from __future__ import annotations

import ctypes
import json
import threading
import time
from pathlib import Path

from edgehone.core.figure import Figure
from edgehone.device.facts import Device

SECONDS = 2.0
UNIT = "GB/s"
# In all; more where the last cache is large, never more than a quarter of what is free.
_BYTES = 256 << 20
_CACHES = 8
_ROUNDS = 3


def read_bandwidth(
    device: Device, cache: Path | None = None, *, fresh: bool = False, seconds: float = SECONDS
) -> Figure:
    """Bytes read a second by all threads that may be used, in GB/s (10⁹), n rounds; the best of them.

    Kept in `cache` by the device's fingerprint, and taken from there unless `fresh`. Missing, with the reason, where
    too little memory is free for buffers larger than the caches.
    """
    if cache and not fresh and (kept := recall(device, cache)):
        return kept
    size = max(_BYTES, _CACHES * max(device.caches.values(), default=0))
    free = device.memory_available_bytes
    if free is not None and size > free // 4:
        return Figure.missing(f"{free >> 20} MiB are free: too few for buffers beyond the caches", UNIT)
    found = measure(size // device.threads, device.threads, seconds)
    if cache:
        keep(device, cache, found)
    return found


def measure(size: int, threads: int, seconds: float = SECONDS) -> Figure:
    """The best of as many rounds as fit into `seconds`, three at least; each thread reads `size` bytes a round."""
    scan = _scanner()
    buffers = [ctypes.create_string_buffer(b"\x01" * size, size) for _ in range(threads)]
    best, rounds, begun = 0.0, 0, time.perf_counter()
    while rounds < _ROUNDS or time.perf_counter() - begun < seconds:
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


def recall(device: Device, cache: Path) -> Figure | None:
    """The figure that was kept of this device there; None where there is none that can be read."""
    try:
        return Figure.from_json(json.loads(_kept(device, cache).read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(device: Device, cache: Path, found: Figure) -> None:
    """Keep a figure of this device there."""
    cache.mkdir(parents=True, exist_ok=True)
    _kept(device, cache).write_text(json.dumps(found.to_json()), "utf-8")


def _kept(device: Device, cache: Path) -> Path:
    return cache / f"{device.fingerprint}.json"
