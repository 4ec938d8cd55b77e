"""Run the command line with the lowest priority, and end it with its parent: python -m …low PROCESSORS WORD…

Requests to a server on the same machine come first: on a busy processor a program of nice 19 gets about 1.5 % beside
one of nice 0 (weights 15 and 1024, Linux, kernel/sched/core.c), and of the disk what others leave (ionice, class idle).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_NICE = 19
_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)
# ioprio_set(2): which = process, class = idle
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_IDLE = 3 << 13


def lower(processors: int) -> None:
    """Lower the priority of this process and of all that it starts; 0 processors: as many as it has."""
    os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    if not sys.platform.startswith("linux"):
        return
    allowed = sorted(os.sched_getaffinity(0))
    if 0 < processors < len(allowed):
        os.sched_setaffinity(0, allowed[-processors:])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if number := _IOPRIO_SET.get(os.uname().machine):
        libc.syscall(number, 1, 0, _IDLE)


def main() -> None:
    """Lower the priority and run the words in this process, which keeps it."""
    lower(int(sys.argv[1]))
    words = sys.argv[2:]
    if words[0] == "step":
        from edgehone.operate.reoptimize.steps import run

        sys.exit(run(words[1], words[2]))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "edgehone.cli.main", *words])


if __name__ == "__main__":
    main()
