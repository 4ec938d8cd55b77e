"""Look at and end child processes with all that they started, by the standard library alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from edgehone.core.errors import JobError
from edgehone.execution.bootstrap import end_session


class Children:
    """The process groups that this process has started and not yet ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._ending = False

    def add(self, group: int) -> None:
        """Note a group; one that came while all are being ended is ended too."""
        with self._lock:
            self._groups.add(group)
            late = self._ending
        if late:
            end_tree(group)

    def remove(self, group: int) -> None:
        """Forget a group that has ended."""
        with self._lock:
            self._groups.discard(group)

    def check(self) -> None:
        """Raise JobError while all are being ended: nothing new is started then."""
        if self._ending:
            raise JobError("stopped before it began")

    @contextmanager
    def pool(self, workers: int) -> Iterator[ThreadPoolExecutor]:
        """Threads that run jobs. If the block is left by an error, Ctrl-C above all, every child is ended first."""
        executor = ThreadPoolExecutor(workers)
        try:
            yield executor
        except BaseException:
            with self._lock:
                self._ending = True
                groups = list(self._groups)
            for group in groups:
                end_tree(group)
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            self._ending = False


CHILDREN = Children()


def resident_bytes(pid: int) -> int:
    """Resident bytes of a process and all its descendants; 0 where the system does not tell."""
    total = 0
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        total += _status(current).get("VmRSS", 0)
        waiting += _children(current)
    return total


def memory_split(pid: int) -> dict[str, int]:
    """Bytes of one process now: `anonymous`, `file`, `shared`, from /proc/PID/status; {} where unreadable."""
    status = _status(pid)
    names = {"RssAnon": "anonymous", "RssFile": "file", "RssShmem": "shared"}
    return {names[name]: status[name] for name in names if name in status}


def end_tree(leader: int) -> None:
    """Kill a child that leads a session of its own, and all that it started there; gone ones are no matter."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    end_session(leader)


def _status(pid: int) -> dict[str, int]:
    try:
        text = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:  # gone, or a system without /proc
        return {}
    sizes = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        parts = value.split()
        if len(parts) == 2 and parts[1] == "kB":
            sizes[name] = int(parts[0]) * 1024
    return sizes


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text("ascii").split()]
    except OSError:
        return []
