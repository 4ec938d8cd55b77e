"""The clock of a session: what request timing reads instead of `time` (worker side).

Real sessions take the time that their hardware needs, and are timed by the monotonic clock. A session whose times are
computed, such as the null backend's, has an attribute `clock` (`sessions.ClockedSession`) that moves on by the computed
time whenever the session works. Loops that answer requests for so many seconds then end as soon as so many seconds
were computed, and their figures are exactly reproducible.
"""

from __future__ import annotations

import time

from edgehone.backends.capabilities import capability
from edgehone.backends.sessions import Clock, ClockedSession


class MonotonicClock:
    """The system's monotonic clock, with the resolution of `time.perf_counter`."""

    def now(self) -> float:
        """Return the seconds since an arbitrary moment."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        time.sleep(seconds)


MONOTONIC = MonotonicClock()


def clock_of(session: object) -> Clock:
    """Return the session's own clock, or the monotonic clock."""
    clocked = capability(session, ClockedSession)
    return clocked.clock if clocked else MONOTONIC


def seconds_to_open(clock: Clock, started: float) -> float:
    """Return how long a session took to open, called right after it was opened.

    `started` is the moment before opening, of `time.perf_counter`. It is of no use to a session's own clock, which
    starts at 0 when its session begins to open.
    """
    return time.perf_counter() - started if clock is MONOTONIC else clock.now()
