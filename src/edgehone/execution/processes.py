"""Measure and end child processes together with all processes that they started."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from edgehone.core.errors import JobError
from edgehone.execution.bootstrap import end_session

# psutil has no such split; of the systems that edgehone runs on, only Linux reports it.
_SPLIT = {"RssAnon": "anonymous", "RssFile": "file", "RssShmem": "shared"}


class Children:
    """The process groups that this process has started and that have not ended yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._ending = False

    def add(self, group: int) -> None:
        """Register a group. It is ended at once if all groups are being ended."""
        with self._lock:
            self._groups.add(group)
            late = self._ending
        if late:
            end_tree(group)

    def remove(self, group: int) -> None:
        """Unregister a group that has ended."""
        with self._lock:
            self._groups.discard(group)

    @property
    def ending(self) -> bool:
        """Whether all groups are being ended."""
        return self._ending

    def check(self) -> None:
        """Raise JobError while all groups are being ended, so that no new child is started."""
        if self._ending:
            raise JobError("stopped before it began")

    @contextmanager
    def pool(self, workers: int) -> Iterator[ThreadPoolExecutor]:
        """A pool of threads that run jobs. If an error (such as Ctrl-C) leaves the block, all children are ended."""
        executor = ThreadPoolExecutor(workers)
        try:
            yield executor
        except BaseException:
            # First, so that a thread whose job is ended below takes no further one.
            executor.shutdown(wait=False, cancel_futures=True)
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


def unreclaimable_bytes(pid: int) -> int:
    """Return the memory of a process and all its descendants that the kernel cannot free at will; 0 if it has ended.

    That is anonymous and shared memory. Pages of mapped files do not count: under pressure the kernel drops them and
    reads them again, so a build that maps a large model does not exhaust the memory.
    """
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_unreclaimable_bytes_of(member) for member in family)


def _unreclaimable_bytes_of(process: psutil.Process) -> int:
    if split := memory_split(process.pid):
        return split["anonymous"] + split["shared"]
    # On other systems, the unique set size: what would be freed if the process ended now.
    with suppress(psutil.NoSuchProcess):  # it ended meanwhile; this includes zombies
        try:
            return int(process.memory_full_info().uss)
        except psutil.AccessDenied:  # it runs as another user
            return int(process.memory_info().rss)
    return 0


def memory_split(pid: int) -> dict[str, int]:
    """Return the resident bytes of one process by kind: `anonymous`, `file`, `shared`, from /proc/PID/status.

    The result is empty if the process has ended or the system has no such file; the figures then give that reason
    (`edgehone.evaluation.memory`).
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return {}
    split = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in _SPLIT:
            split[_SPLIT[name]] = int(value.split()[0]) * 1024
    return split


def wait(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait until a child ends, at most some seconds. Return whether it has ended.

    Popen.wait with a timeout looks every 50 ms, a delay of each job; a pidfd (Linux) becomes readable when it ends.
    """
    if hasattr(os, "pidfd_open") and child.poll() is None:
        descriptor = os.pidfd_open(child.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(1000 * seconds)
        finally:
            os.close(descriptor)
        return child.poll() is not None
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def end_tree(leader: int) -> None:
    """Kill a child that leads a session, and every process of that session. Processes that have ended are ignored."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    end_session(leader)
