"""How long the threads of this process waited for a processor that others used (Linux only).

The scheduler counts for each thread the nanoseconds in which it could run but did not: the second number of
/proc/PID/task/TID/schedstat (Documentation/scheduler/sched-stats.rst). What a framework does by itself, such as waiting
for memory or for its own threads to end, is not among them. One reading takes some microseconds for each thread.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")
# What threads wait, as a share of the time, where no other program takes a processor from them: less than this. With
# ten threads on two processors it was 0.1 to 0.4; while another program takes one of two processors, it is 0.6 or more.
CALM = 0.45


class RunDelay:
    """The delay of all threads of this process, summed. A thread counts from the first `refresh` that sees it."""

    def __init__(self, tasks: Path = _TASKS) -> None:
        """Open the counters under `tasks`."""
        self._tasks = tasks
        self._files: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._total = 0
        self._counted = False
        self.refresh()

    @property
    def known(self) -> bool:
        """Return False where the system does not count the delay: it has no counters, or they stay at 0."""
        return self._counted

    def refresh(self) -> None:
        """Include threads that were started since, and forget those that ended."""
        with suppress(OSError):
            present = {task.name for task in self._tasks.iterdir()}
            for name in self._files.keys() - present:
                self._forget(name)
            for name in present - self._files.keys():
                self._include(name)

    def seconds(self) -> float:
        """Return the seconds of delay of all known threads since they were included. It never decreases."""
        for name, file in list(self._files.items()):
            try:
                now = _counters(file)[1]
            except (OSError, ValueError):  # the thread has ended
                self._forget(name)
                continue
            self._total += now - self._last[name]
            self._last[name] = now
        return self._total / 1e9

    def close(self) -> None:
        """Close the counters."""
        for name in list(self._files):
            self._forget(name)

    def _include(self, name: str) -> None:
        try:
            file = os.open(self._tasks / name / "schedstat", os.O_RDONLY)
        except OSError:  # it ended meanwhile, or the kernel has no such file
            return
        try:
            ran, self._last[name] = _counters(file)
        except (OSError, ValueError):
            os.close(file)
            return
        self._files[name] = file
        # A kernel that does not account for scheduling shows zeros, also for the thread that reads them.
        self._counted |= ran > 0

    def _forget(self, name: str) -> None:
        os.close(self._files.pop(name))
        del self._last[name]


def _counters(file: int) -> tuple[int, int]:
    """Return the nanoseconds for which a thread has run, and for which it waited."""
    ran, waited = os.pread(file, 64, 0).split()[:2]
    return int(ran), int(waited)
