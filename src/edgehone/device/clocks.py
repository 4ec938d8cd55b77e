"""Clocks that disagree: a machine that slept, a clock that was set or is being corrected, while something was timed.

Durations are read from the monotonic clock, which nobody can set. It stands still while a Linux machine sleeps, and its
rate is bent while the system corrects the wall clock; after a sleep caches are cold and frequencies low. So what was
timed across any of these is not worth keeping. Clocks: clock_gettime(2), adjtimex(2).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

# Above these two clocks did not run alike, and were not merely read one after the other.
SLEPT_SECONDS = 0.1
SET_SECONDS = 0.25
# chronyd corrects by up to 8 %; ntpd and the kernel by 0.05 %, which no interval here can tell.
BENT_SHARE = 0.005
# Over less time than this a rate says nothing.
_LEAST_SECONDS = 0.1

_CLOCKS = {
    "wall": "CLOCK_REALTIME",
    "running": "CLOCK_MONOTONIC",
    "since_boot": "CLOCK_BOOTTIME",
    "raw": "CLOCK_MONOTONIC_RAW",
}


def read_clocks() -> dict[str, float]:
    """Seconds of each clock that this system has: `wall`, `running`, `since_boot` (counts sleep), `raw`."""
    known = {name: getattr(time, clock, None) for name, clock in _CLOCKS.items()}
    return {name: time.clock_gettime(clock) for name, clock in known.items() if clock is not None}


def jump(before: Mapping[str, float], after: Mapping[str, float]) -> str | None:
    """What happened to the clocks between two readings that spoils what was timed meanwhile; None if nothing did."""
    ran = {name: after[name] - before[name] for name in before.keys() & after.keys()}
    if "running" not in ran:
        return None
    slept = ran.get("since_boot", ran["running"]) - ran["running"]
    if slept > SLEPT_SECONDS:
        return f"the machine slept for {slept:.1f} s"
    # Wall time goes on through a sleep as the clock since boot does.
    moved = ran.get("wall", ran["running"]) - ran.get("since_boot", ran["running"])
    if abs(moved) > SET_SECONDS:
        return f"the wall clock was set by {moved:+.1f} s"
    raw = ran.get("raw", ran["running"])
    if raw > _LEAST_SECONDS and abs(ran["running"] / raw - 1) > BENT_SHARE:
        return f"the clock's rate was being corrected by {ran['running'] / raw - 1:+.1%}"
    return None
