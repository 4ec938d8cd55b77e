"""How long writes wait for the disk.

A thread that is in a call computes, waits for a processor, or waits for what it asked for. The kernel counts the first
two for each thread (Linux, Documentation/scheduler/sched-stats.rst), so a busy machine is not taken for a slow disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A write is told for so many seconds after its end.
_TOLD_SECONDS = 60.0


class Waits:
    """The last of the writes that one thread after the other does."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self._last: tuple[float, float] | None = None  # when it ended, and the seconds that it waited

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Time the block as a write."""
        begun, scheduled = time.monotonic(), _scheduled()
        self._begun = begun
        try:
            yield
        finally:
            now = time.monotonic()
            self._begun, self._last = None, (now, max(0.0, now - begun - (_scheduled() - scheduled)))

    @property
    def seconds(self) -> float:
        """Seconds that the last write waited, or how long one that has not ended takes; 0 without a recent one."""
        now, begun, last = time.monotonic(), self._begun, self._last
        found = [] if begun is None else [now - begun]
        if last and now - last[0] < _TOLD_SECONDS:
            found.append(last[1])
        return max(found, default=0.0)


def _scheduled() -> float:
    """Return the seconds for which this thread has computed or waited for a processor."""
    try:
        computed, waited, _ = Path("/proc/thread-self/schedstat").read_text("ascii").split()
        return (int(computed) + int(waited)) / 1e9
    except (OSError, ValueError):  # not Linux, or a kernel without these counters
        return time.thread_time()
