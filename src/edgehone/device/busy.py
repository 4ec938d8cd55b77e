"""Measure the share of processor time that other processes use during a measurement."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Busy:
    """Seconds of processor time: used by all processes, used by this process, and available in total since boot."""

    all_processes: float
    this_process: float
    total: float


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
    return Busy((total - fields[3] - fields[4]) / tick, times.user + times.system, total / tick)


def others_share(before: Busy | None, after: Busy | None) -> float | None:
    """Return the share (0 to 1) of processor time that other processes used between two readings, or None."""
    if before is None or after is None or after.total <= before.total:
        return None
    others = (after.all_processes - before.all_processes) - (after.this_process - before.this_process)
    return min(1.0, max(0.0, others / (after.total - before.total)))
