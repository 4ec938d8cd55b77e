"""How much of the processors other processes took while something was measured."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Busy:
    """Seconds of processor time since the machine started: of everybody, of this process, and in all."""

    everybody: float
    own: float
    total: float


def read_busy(proc: Path = Path("/proc")) -> Busy | None:
    """Now; None where the system has no /proc/stat. Time stolen by the hypervisor counts as busy."""
    try:
        line = (proc / "stat").read_text("ascii").partition("\n")[0]
        # user nice system idle iowait irq softirq steal; guest time is in user already.
        fields = [int(part) for part in line.split()[1:9]]
    except (OSError, ValueError):
        return None
    if not line.startswith("cpu ") or len(fields) < 5:
        return None
    tick = os.sysconf("SC_CLK_TCK")
    mine = os.times()
    total = sum(fields)
    return Busy((total - fields[3] - fields[4]) / tick, mine.user + mine.system, total / tick)


def others_share(before: Busy | None, after: Busy | None) -> float | None:
    """The share (0 to 1) of all processor time between two readings that others took; None if it is not known."""
    if before is None or after is None or after.total <= before.total:
        return None
    others = (after.everybody - before.everybody) - (after.own - before.own)
    return min(1.0, max(0.0, others / (after.total - before.total)))
