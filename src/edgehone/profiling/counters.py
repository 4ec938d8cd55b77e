"""What the kernel counts of a process and of the machine: parsers of /proc, for a sampler that looks from outside.

Each reader returns None, or leaves a name out, where the system does not tell; none raises. Times are in seconds,
sizes in bytes. `root` is where proc lies, so that tests bring a tree of their own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class ProcessCounters:
    """Since the process began; all its threads together. None is 'the system does not tell'."""

    cpu: float | None  # seconds of processor time
    waited: float | None  # seconds in which a thread was ready and no processor was free
    voluntary: int | None  # switches because a thread waited for something
    involuntary: int | None  # switches because a thread's time was up or another came first
    threads: int | None
    major_faults: int | None  # pages that had to be read from a disk
    read_bytes: int | None  # from a disk


def process(pid: int, root: Path = Path("/proc")) -> ProcessCounters:
    """The counters of a process now."""
    place = root / str(pid)
    ticks, faults = _stat(_text(place / "stat"))
    tasks = _tasks(place)
    waits = [wait for task in tasks if (wait := _run_delay(_text(task / "schedstat"))) is not None]
    switches = [_switches(_text(task / "status")) for task in tasks]
    known = [one for one in switches if one is not None]
    return ProcessCounters(
        cpu=None if ticks is None else ticks / TICK,
        waited=sum(waits) if waits else None,
        voluntary=sum(one[0] for one in known) if known else None,
        involuntary=sum(one[1] for one in known) if known else None,
        threads=len(tasks) or None,
        major_faults=faults,
        read_bytes=_field(_text(place / "io"), "read_bytes"),
    )


def cores(root: Path = Path("/proc")) -> list[tuple[float, float]]:
    """(busy, all) seconds of each processor since the machine began; [] where the system does not tell.

    Time stolen by a hypervisor counts as busy: it was not there to be used.
    """
    found = []
    for line in _text(root / "stat").splitlines():
        match = re.match(r"cpu\d+ ((?:\d+ ?)+)", line)
        if match is None:
            continue
        # user nice system idle iowait irq softirq steal; guest time is in user already.
        fields = [int(part) for part in match.group(1).split()[:8]]
        if len(fields) >= 5:
            total = sum(fields)
            found.append(((total - fields[3] - fields[4]) / TICK, total / TICK))
    return found


def running(root: Path = Path("/proc")) -> int | None:
    """Threads of the whole machine that are running or ready to run now."""
    return _field(_text(root / "stat"), "procs_running", separator=" ")


def available_memory(root: Path = Path("/proc")) -> int | None:
    """Bytes that can still be had without swapping."""
    kilobytes = _field(_text(root / "meminfo"), "MemAvailable")
    return None if kilobytes is None else kilobytes * 1024


def quota(
    own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> tuple[int, int] | None:
    """(periods, periods in which the quota was used up) of the control group; None where there is no quota."""
    line = next((line for line in _text(own).splitlines() if line.startswith("0::")), None)
    if line is None:
        return None
    text = _text(root / line[3:].strip().lstrip("/") / "cpu.stat")
    periods, throttled = (_field(text, name, separator=" ") for name in ("nr_periods", "nr_throttled"))
    return (periods, throttled) if periods and throttled is not None else None


def _tasks(place: Path) -> list[Path]:
    try:
        return list((place / "task").iterdir())
    except OSError:
        return []


def _stat(text: str) -> tuple[int | None, int | None]:
    """(ticks of user and system time, major faults); the command's name may hold spaces and brackets."""
    fields = text.rpartition(")")[2].split()
    if len(fields) < 13 or not all(part.lstrip("-").isdigit() for part in fields[1:13]):
        return None, None
    return int(fields[11]) + int(fields[12]), int(fields[9])


def _run_delay(text: str) -> float | None:
    """Seconds ready and not running: the second number of schedstat, in nanoseconds."""
    parts = text.split()
    return int(parts[1]) / 1e9 if len(parts) >= 2 and parts[1].isdigit() else None


def _switches(text: str) -> tuple[int, int] | None:
    pair = [_field(text, f"{name}voluntary_ctxt_switches") for name in ("", "non")]
    return (pair[0], pair[1]) if pair[0] is not None and pair[1] is not None else None


def _field(text: str, name: str, separator: str = ":") -> int | None:
    match = re.search(rf"^{name}{separator}\s*(\d+)", text, re.MULTILINE)
    return int(match.group(1)) if match else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # gone, not ours to read, or a system without /proc
        return ""
