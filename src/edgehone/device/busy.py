"""Measure the share of processor time that other processes use during a measurement."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Busy:
    """Seconds of processor time since boot: used by all processes, used by this process, available, and stolen.

    `stolen` is what the hypervisor gave to other machines. `pressure` is the time for which some thread waited for a
    processor (PSI, Documentation/accounting/psi.rst); None without it.
    """

    all_processes: float
    this_process: float
    total: float
    stolen: float = 0.0
    pressure: float | None = None


def read_busy(proc: Path = Path("/proc")) -> Busy | None:
    """Return the current counters, or None without /proc/stat. Time stolen by the hypervisor counts as used."""
    try:
        line = (proc / "stat").read_text("ascii").partition("\n")[0]
        # user nice system idle iowait irq softirq steal; user includes guest time.
        fields = [int(part) for part in line.split()[1:9]]
    except (OSError, ValueError):
        return None
    if not line.startswith("cpu ") or len(fields) < 5:
        return None
    tick = os.sysconf("SC_CLK_TCK")
    times = os.times()
    total = sum(fields)
    stolen = fields[7] / tick if len(fields) > 7 else 0.0
    used = (total - fields[3] - fields[4]) / tick
    return Busy(used, times.user + times.system, total / tick, stolen, _pressure(proc))


def _pressure(proc: Path) -> float | None:
    try:
        some = (proc / "pressure" / "cpu").read_text("ascii").partition("\n")[0]
        return int(some.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return None


def others_share(before: Busy | None, after: Busy | None) -> float | None:
    """Return the share (0 to 1) of processor time that other processes used between two readings, or None."""
    if before is None or after is None or after.total <= before.total:
        return None
    others = (after.all_processes - before.all_processes) - (after.this_process - before.this_process)
    return min(1.0, max(0.0, others / (after.total - before.total)))


def stolen_share(before: Busy | None, after: Busy | None) -> float | None:
    """Return the share (0 to 1) of processor time that the hypervisor gave to other machines, or None."""
    if before is None or after is None or after.total <= before.total:
        return None
    return min(1.0, max(0.0, (after.stolen - before.stolen) / (after.total - before.total)))


def pressure(before: Busy | None, after: Busy | None) -> float | None:
    """Return the seconds for which some thread of the machine waited for a processor between two readings, or None."""
    if before is None or after is None or before.pressure is None or after.pressure is None:
        return None
    return max(0.0, after.pressure - before.pressure)
