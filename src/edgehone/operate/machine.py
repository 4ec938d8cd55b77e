"""Load of the server's machine: its processes against all others, read from the kernel without asking the server."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from edgehone.device.busy import read_busy

# Seconds for which a diagnosis watches the processors: the kernel's counters advance by 10 ms.
SECONDS = 1.0
# Samples of the loop over which the growth of memory is computed.
_SAMPLES = 60
# Programs below this share of the processors are not named.
_NAMED = 0.05


@dataclass(frozen=True)
class Processors:
    """Shares of all processors, 0 to 1: what the server's processes took, and others, with the names of the busiest."""

    own: float
    others: float
    names: Sequence[str]


@dataclass(frozen=True)
class Growth:
    """How the memory grew since the first sample, in bytes: the server's, and that of the process that grew most."""

    seconds: float
    own: int
    others: int
    name: str


class Memory:
    """The memory of processes over the last samples."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._samples: deque[tuple[float, Mapping[int, tuple[str, int]], set[int]]] = deque(maxlen=_SAMPLES)

    def look(self) -> None:
        """Take a sample."""
        found = {
            one.pid: (one.info["name"], one.info["memory_info"].rss) for one in _all(("name", "memory_info"))
        }
        self._samples.append((time.monotonic(), found, own_processes(self._process)))

    @property
    def growth(self) -> Growth | None:
        """How it grew; None before the second sample."""
        if len(self._samples) < 2:
            return None
        (begun, before, was_own), (ended, after, is_own) = self._samples[0], self._samples[-1]
        grown = {
            pid: (name, rss - (before[pid][1] if pid in before else 0))
            for pid, (name, rss) in after.items()
            if pid not in is_own
        }
        name, most = max(grown.values(), key=lambda one: one[1], default=("", 0))
        own = _total(after, is_own) - _total(before, was_own)
        return Growth(ended - begun, own, most, name)


def processors(process: int) -> Processors | None:
    """Watch the processors for a second. None if the server's process cannot be seen."""
    if not psutil.pid_exists(process):
        return None
    busy, before = read_busy(), _times()
    time.sleep(SECONDS)
    busy_now, after, own = read_busy(), _times(), own_processes(process)
    if busy is None or busy_now is None or busy_now.total <= busy.total:
        return None
    # The kernel's own counters include short-lived processes, its threads and what a hypervisor gave to others.
    whole = busy_now.total - busy.total
    used = (busy_now.all_processes - busy.all_processes) / whole
    took = {
        pid: (name, max(0.0, seconds - before.get(pid, (name, 0.0))[1]) / whole)
        for pid, (name, seconds) in after.items()
    }
    mine = min(used, sum(share for pid, (_, share) in took.items() if pid in own))
    by_name: dict[str, float] = {}
    for pid, (name, share) in took.items():
        if pid not in own and pid != os.getpid():
            by_name[name] = by_name.get(name, 0.0) + share
    busiest = sorted(((share, name) for name, share in by_name.items() if share > _NAMED), reverse=True)
    return Processors(mine, used - mine, [f"{name} ({share:.0%})" for share, name in busiest[:3]])


def own_processes(process: int) -> set[int]:
    """Return the ids of a server's process and of all that it started."""
    try:
        server = psutil.Process(process)
        return {process, *(child.pid for child in server.children(recursive=True))}
    except psutil.Error:
        return {process}


def pressure(resource: str, proc: Path = Path("/proc")) -> float | None:
    """Return the share of the last 10 s in which some process waited for cpu, io or memory; None if unknown."""
    try:
        words = (proc / "pressure" / resource).read_text("ascii").split()
        return float(words[1].removeprefix("avg10=")) / 100
    except (OSError, ValueError, IndexError):
        return None


def faults(process: int) -> int:
    """Return how many pages a server's processes have waited for the disk for."""
    count = 0
    for pid in own_processes(process):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            count += int(fields[9])  # majflt, proc(5)
        except (OSError, IndexError, ValueError):
            continue  # it has ended, or there is no /proc
    return count


def read_bytes(process: int) -> int:
    """Return how many bytes a server's processes have had read from disks, pages of mapped files included."""
    count = 0
    for pid in own_processes(process):
        try:
            lines = Path(f"/proc/{pid}/io").read_text("ascii").splitlines()
        except OSError:
            continue  # it has ended, or belongs to another user
        count += sum(int(one.split()[1]) for one in lines if one.startswith("read_bytes:"))  # proc(5)
    return count


def free_bytes(folder: str | None = None) -> int | None:
    """Return the free bytes on the disk of a folder, by default of the temporary one."""
    try:
        return shutil.disk_usage(folder or tempfile.gettempdir()).free
    except OSError:
        return None


def _all(fields: tuple[str, ...]) -> list[psutil.Process]:
    found = psutil.process_iter(fields)
    return [one for one in found if all(one.info[field] is not None for field in fields)]


def _times() -> dict[int, tuple[str, float]]:
    return {
        one.pid: (one.info["name"], one.info["cpu_times"].user + one.info["cpu_times"].system)
        for one in _all(("name", "cpu_times"))
    }


def _total(sample: Mapping[int, tuple[str, int]], pids: set[int]) -> int:
    return sum(sample[pid][1] for pid in pids if pid in sample)
