"""How many threads of other programs want a processor right now.

The load average cannot tell: it counts the threads of the program in question too. The kernel counts for each thread
how long it ran and how long it waited for a processor (/proc/PID/task/TID/schedstat, sched-stats.rst in its
documentation). Their sum over a time is the number of threads that wanted one, whether or not they got it: processor
time alone would be too little wherever threads wait for each other's processors.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

# The counters advance by nanoseconds; programs alternate between work and waiting over tenths of a second.
SECONDS = 0.5


def others_demand(own: Collection[int], seconds: float = SECONDS, proc: Path = Path("/proc")) -> float | None:
    """Watch the machine and return how many threads of processes other than `own` ran or waited for a processor.

    It is an average over the time, without threads that began and ended meanwhile. None if the kernel does not count.
    """
    before, begun = _wanted(own, proc), time.monotonic()
    time.sleep(seconds)
    after, watched = _wanted(own, proc), time.monotonic() - begun
    if not before or not after:
        return None
    # A thread that was started meanwhile, also under an id that another one had, began at 0.
    grown = (now - was if now >= (was := before.get(thread, 0)) else now for thread, now in after.items())
    return sum(grown) / 1e9 / watched


def _wanted(own: Collection[int], proc: Path) -> dict[str, int]:
    """Return the nanoseconds for which each thread of other processes ran or waited so far, by its id."""
    found: dict[str, int] = {}
    for process in proc.glob("[0-9]*"):
        if int(process.name) in own:
            continue
        for thread in process.glob("task/[0-9]*"):
            try:
                ran, waited = (thread / "schedstat").read_text("ascii").split()[:2]
                found[thread.name] = int(ran) + int(waited)
            except (OSError, ValueError):  # it ended meanwhile, or the kernel does not count
                continue
    return found
