"""Read the CPU and memory limits that control groups (containers, systemd slices) impose on this process.

Sources: the kernel's admin-guide, cgroup-v2 (cpu.max, memory.max) and cgroup-v1 (cpu.cfs_*, memory.limit_*).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# Version 1 represents 'no limit' by the largest page-aligned number.
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class Limits:
    """`cpus` can be fractional. None: no limit, or it cannot be read."""

    cpus: float | None = None
    memory_bytes: int | None = None


def read_limits(root: Path = Path("/")) -> Limits:
    """Return the tightest limits of the process's control group and all groups above it.

    `root`: the folder that contains proc and sys.
    """
    cpus: list[float] = []
    memory: list[int] = []
    for folder in _groups(root):
        cpus += _cpus(folder)
        memory += _memory(folder)
    return Limits(min(cpus, default=None), min(memory, default=None))


def read_available(root: Path = Path("/")) -> int | None:
    """Return how many bytes the memory limits leave to the process's control group; None without a limit.

    Pages of files that were not used for a while count as free, as Kubernetes counts them (working set): the kernel
    gives them up first.
    """
    left = []
    for folder in _groups(root):
        used = _words(folder / "memory.current") or _words(folder / "memory.usage_in_bytes")
        if used and used[0].isdigit():
            idle = _statistic(folder, "total_inactive_file") or _statistic(folder, "inactive_file") or 0
            left += [max(0, limit - int(used[0]) + idle) for limit in _memory(folder)]
    return min(left, default=None)


def _statistic(folder: Path, name: str) -> int | None:
    words = _words(folder / "memory.stat")
    found = dict(zip(words[::2], words[1::2], strict=False))
    return int(found[name]) if found.get(name, "").isdigit() else None


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the process's groups, from the innermost to the root of each hierarchy."""
    mounts = root / "sys/fs/cgroup"
    for controllers, path in _memberships(root / "proc/self/cgroup"):
        wanted = set(controllers.split(",")) & {"cpu", "memory"}
        if controllers and not wanted:
            continue
        if not controllers:  # version 2, or the version 2 part of a hybrid setup
            tops = [mounts, mounts / "unified"]
        else:
            tops = [mounts / name for name in dict.fromkeys([controllers, *sorted(wanted)])]
        for top in tops:
            yield from _upwards(top, path)


def _memberships(file: Path) -> list[tuple[str, str]]:
    """Return (controllers, path) of each line, or the root groups if the file cannot be read."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return [("", "/"), ("cpu", "/"), ("memory", "/")]
    parts = [line.split(":", 2) for line in lines]
    return [(part[1], part[2]) for part in parts if len(part) == 3]


def _upwards(top: Path, path: str) -> Iterator[Path]:
    relative = PurePosixPath(path.lstrip("/"))
    if ".." in relative.parts:  # the group is outside of this namespace
        relative = PurePosixPath()
    for part in (relative, *relative.parents):
        # In a container the path is often that of the host and does not exist; the root does.
        if (top / part).is_dir():
            yield top / part


def _cpus(folder: Path) -> list[float]:
    v2 = _words(folder / "cpu.max")
    if len(v2) == 2 and v2[0].isdigit() and v2[1].isdigit() and int(v2[1]) > 0:
        return [int(v2[0]) / int(v2[1])]
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    if quota and period and quota[0].isdigit() and period[0].isdigit() and int(period[0]) > 0:
        return [int(quota[0]) / int(period[0])]  # -1: no quota
    return []


def _memory(folder: Path) -> list[int]:
    limits = []
    for name in ("memory.max", "memory.limit_in_bytes"):
        words = _words(folder / name)
        if words and words[0].isdigit() and int(words[0]) < _UNLIMITED:
            limits.append(int(words[0]))
    return limits


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except (OSError, ValueError):
        return []
