"""Detect clock disruptions during a measurement: sleep, a clock that was set, or a clock being corrected.

Durations are read from the monotonic clock, which cannot be set. On Linux it stops while the machine sleeps, and its
rate changes while the system corrects the wall clock; after a sleep, caches are cold and frequencies low. Measurements
across any of these are therefore discarded. Clocks: clock_gettime(2), adjtimex(2).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

# Larger differences between two clocks are not explained by the delay between reading them.
SLEPT_SECONDS = 0.1
SET_SECONDS = 0.25
# chronyd corrects by up to 8 %; corrections of 0.05 % (ntpd, kernel) are below the resolution of measurements.
RATE_ERROR = 0.005
# Shortest duration over which rates are compared.
_MIN_SECONDS = 0.1

_CLOCKS = {
    "wall": "CLOCK_REALTIME",
    "running": "CLOCK_MONOTONIC",
    "since_boot": "CLOCK_BOOTTIME",
    "raw": "CLOCK_MONOTONIC_RAW",
}


def read_clocks() -> dict[str, float]:
    """Return the seconds of each available clock: `wall`, `running`, `since_boot` (includes sleep) and `raw`."""
    known = {name: getattr(time, clock, None) for name, clock in _CLOCKS.items()}
    return {name: time.clock_gettime(clock) for name, clock in known.items() if clock is not None}


def jump(before: Mapping[str, float], after: Mapping[str, float]) -> str | None:
    """Describe the disruption of the clocks between two readings that invalidates a measurement, or return None."""
    elapsed = {name: after[name] - before[name] for name in before.keys() & after.keys()}
    if "running" not in elapsed:
        return None
    slept = elapsed.get("since_boot", elapsed["running"]) - elapsed["running"]
    if slept > SLEPT_SECONDS:
        return f"the machine slept for {slept:.1f} s"
    # Both the wall clock and the clock since boot include sleep.
    adjustment = elapsed.get("wall", elapsed["running"]) - elapsed.get("since_boot", elapsed["running"])
    if abs(adjustment) > SET_SECONDS:
        return f"the wall clock was set by {adjustment:+.1f} s"
    raw = elapsed.get("raw", elapsed["running"])
    if raw > _MIN_SECONDS and abs(elapsed["running"] / raw - 1) > RATE_ERROR:
        return f"the clock's rate was being corrected by {elapsed['running'] / raw - 1:+.1%}"
    return None
