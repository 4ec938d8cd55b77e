"""Keep a measured rate of this machine in a file; one that other processes slowed down is measured again later."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from edgehone.core.figure import Figure
from edgehone.device.busy import others_share, read_busy
from edgehone.device.facts import Device

# The share of processor time that other processes may use during a measurement that is kept for good. The rate is that
# of the best round, and some rounds run undisturbed on a machine that is idle for nine tenths of the time.
BUSY = 0.1
# A rate measured on a busy machine is kept so long that the steps of one run do not measure it again.
BUSY_SECONDS = 600.0


def cached_rate(device: Device, cache: Path | None, measure: Callable[[], Figure], *, fresh: bool) -> Figure:
    """Return the rate of this device in the folder `cache`, or measure it and write it there.

    A rate measured while other processes used more than `BUSY` of the processors is measured again after
    `BUSY_SECONDS`, unless `fresh` at once. The larger of both is kept, since others can only slow a measurement down.
    """
    if cache is None:
        return measure()
    known, busy_at = (None, None) if fresh else _read(device, cache)
    if known is not None and (busy_at is None or 0 <= time.time() - busy_at < BUSY_SECONDS):
        return known
    before = read_busy()
    found = measure()
    share = others_share(before, read_busy())
    if found.value is None:
        return known or found
    if known is not None and known.value is not None and known.value > found.value:
        found = known
    write_cached(device, cache, found, time.time() if share is not None and share > BUSY else None)
    return found


def read_cached(device: Device, cache: Path) -> Figure | None:
    """Return the cached figure of this device, or None if there is none or it cannot be read."""
    return _read(device, cache)[0]


def write_cached(device: Device, cache: Path, figure: Figure, busy_at: float | None = None) -> None:
    """Cache a figure of this device, and when (seconds since 1970) it was measured if the machine was busy then."""
    cache.mkdir(parents=True, exist_ok=True)
    _file(device, cache).write_text(json.dumps({**figure.to_json(), "busy_at": busy_at}), "utf-8")


def _read(device: Device, cache: Path) -> tuple[Figure | None, float | None]:
    try:
        fields = json.loads(_file(device, cache).read_text("utf-8"))
        busy_at = fields.pop("busy_at", None)
        return Figure.from_json(fields), None if busy_at is None else float(busy_at)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, None  # none yet, or half a file of a full disk: it is measured again


def _file(device: Device, cache: Path) -> Path:
    return cache / f"{device.fingerprint}.json"
