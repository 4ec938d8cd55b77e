"""The clocks of the history: one for the times that people read, one for how much time has passed."""

from __future__ import annotations

import time
from collections.abc import Callable

# A clock that is set by less than this breaks no order of rows that are 10 s apart.
_JUMP_SECONDS = 1.0


def elapsed() -> float:
    """Return seconds of a clock that is never set and that runs while the machine is suspended."""
    # On Linux CLOCK_MONOTONIC stops with the machine; elsewhere there is no other, or it does not stop.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Clock:
    """Unix time, and by how much it was set since the last look."""

    def __init__(self, wall: Callable[[], float] = time.time, passed: Callable[[], float] = elapsed) -> None:
        self.wall, self.passed = wall, passed
        self._ahead = wall() - passed()

    def jumped(self) -> float:
        """Return by how many seconds the clock was set ahead since the last call: back, if negative; 0, if hardly."""
        ahead = self.wall() - self.passed()
        by, self._ahead = ahead - self._ahead, ahead
        return by if abs(by) >= _JUMP_SECONDS else 0.0
