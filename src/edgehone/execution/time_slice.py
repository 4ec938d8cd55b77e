"""Ask the scheduler to run a thread soon after it is woken, although others compute on all processors.

Linux lets a thread that computes go on until its slice of some milliseconds is over, before one that was woken has its
turn; unless that one has a shorter slice (since 6.12, which also reads the slice of ordinary threads). Threads that
only pass messages on take little time and need it soon. Their share of the processors stays what it is.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

# The number of the call sched_setattr by the machine's architecture (asm/unistd_64.h, asm-generic/unistd.h).
_CALLS = {"x86_64": 314, "aarch64": 274}
# struct sched_attr, first version: size, policy, flags, nice, priority, runtime, deadline, period; times are in ns.
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
# SCHED_FLAG_RESET_ON_FORK: threads and processes that this one starts have the usual slice, engines among them.
_RESET = 1
# The shortest slice that the scheduler takes.
_SHORTEST_NS = 100_000


def shorten_slice() -> bool:
    """Give this thread the shortest slice. Returns whether the system has accepted it; other systems have no such call.

    Kernels before 6.12 accept and ignore it.
    """
    call = _CALLS.get(platform.machine()) if sys.platform == "linux" else None
    if call is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, _RESET, nice, 0, _SHORTEST_NS, 0, 0)
    result: int = ctypes.CDLL(None).syscall(call, 0, attributes, 0)
    return result == 0
