"""The control group of a server's process: its quota of processors and its weight, in version 1 and 2.

Sources: the kernel's admin-guide, cgroup-v2 (cpu.max, cpu.weight, cpu.stat) and cgroup-v1 (cpu.cfs_*, cpu.shares).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from edgehone.core.errors import EdgehoneError

_MOUNTS = Path("/sys/fs/cgroup")
# A quota is refilled every period, by default every 100 ms; so many are looked at.
_SECONDS = 1.0


class NotPermitted(EdgehoneError):
    """The control group cannot be changed from here."""


@dataclass(frozen=True)
class Group:
    """A control group with a quota or a weight for processors. `cpus` is None without a quota.

    `throttled_share` is the share of the last second's periods in which the quota was used up; None without one.
    """

    folder: Path
    version: int
    cpus: float | None
    weight: int | None
    throttled_share: float | None = None


def group_of(process: int, mounts: Path = _MOUNTS, proc: Path = Path("/proc")) -> Group | None:
    """Return the control group that limits the processors of a process, watched for a second if it has a quota.

    None if there is none, as for a process in the root group.
    """
    found = _folder(process, mounts, proc)
    if found is None:
        return None
    folder, version = found
    group = _read(folder, version)
    if group.cpus is None:
        return group
    before = _periods(folder)
    time.sleep(_SECONDS)
    after = _periods(folder)
    if before is None or after is None or after[0] == before[0]:
        return group
    share = (after[1] - before[1]) / (after[0] - before[0])
    return Group(folder, version, group.cpus, group.weight, share)


def read_value(folder: Path, name: str) -> str | None:
    """Return what a file of a control group holds; None if it is gone."""
    try:
        return (folder / name).read_text("ascii").strip()
    except OSError:
        return None


def write_value(folder: Path, name: str, value: str) -> None:
    """Write a value of a control group. Raises NotPermitted with the reason."""
    try:
        (folder / name).write_text(value, "ascii")
    except OSError as error:
        raise NotPermitted(f"{folder / name} cannot be set to {value}: {error.strerror or error}") from error


def more(group: Group, what: str, times: float, cores: int) -> tuple[str, str, str] | str:
    """Return the file, its value now and one that gives so many times as much; or why that cannot be done."""
    if what == "cpus":
        if group.cpus is None:
            return "the control group has no quota"
        wanted = min(times * group.cpus, float(cores))
        if wanted <= group.cpus:
            return f"the quota is already {group.cpus:g} processors"
        name = "cpu.max" if group.version == 2 else "cpu.cfs_quota_us"
        period = _period(group)
        value = f"{round(wanted * period)} {period}" if group.version == 2 else str(round(wanted * period))
    else:
        if group.weight is None:
            return "the control group has no weight"
        name, most = ("cpu.weight", 10_000) if group.version == 2 else ("cpu.shares", 262_144)
        value = str(min(most, round(times * group.weight)))
    if not os.access(group.folder / name, os.W_OK):
        return f"{group.folder / name} may not be written by this user"
    now = read_value(group.folder, name)
    return (name, now, value) if now is not None and now != value else f"{name} is already {now}"


def _folder(process: int, mounts: Path, proc: Path) -> tuple[Path, int] | None:
    """Return the innermost group that is not the root of its hierarchy, and its version."""
    try:
        lines = (proc / str(process) / "cgroup").read_text("ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if path == "/" or ".." in path:
            continue
        if "cpu" in names:
            for top in (mounts / controllers, mounts / "cpu", mounts / "cpu,cpuacct"):
                if (folder := top / path.lstrip("/")).is_dir():
                    return folder, 1
        if not controllers and (folder := mounts / path.lstrip("/")) and (folder / "cpu.weight").exists():
            return folder, 2
    return None


def _read(folder: Path, version: int) -> Group:
    if version == 2:
        words = (read_value(folder, "cpu.max") or "max 0").split()
        cpus = int(words[0]) / int(words[1]) if words[0].isdigit() and int(words[1]) else None
        weight = read_value(folder, "cpu.weight")
    else:
        quota, period = read_value(folder, "cpu.cfs_quota_us"), read_value(folder, "cpu.cfs_period_us")
        cpus = int(quota) / int(period) if quota and period and quota.isdigit() and int(period) else None
        weight = read_value(folder, "cpu.shares")
    return Group(folder, version, cpus, int(weight) if weight else None)


def _period(group: Group) -> int:
    if group.version == 2:
        return int((read_value(group.folder, "cpu.max") or "max 100000").split()[1])
    return int(read_value(group.folder, "cpu.cfs_period_us") or 100_000)


def _periods(folder: Path) -> tuple[int, int] | None:
    """Return how many periods there were, and in how many the quota was used up."""
    try:
        lines = (folder / "cpu.stat").read_text("ascii").splitlines()
        found = {name: int(value) for name, value in (line.split()[:2] for line in lines)}
        return found["nr_periods"], found["nr_throttled"]
    except (OSError, ValueError, KeyError):
        return None
