"""Kernel counters of a process and of the machine: parsers of /proc, for a sampler outside of the process.

A reader returns None, or leaves a name out, if the system does not provide the counter; no reader raises. Times are in
seconds, sizes in bytes. `root` is the path of /proc; tests replace it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class ProcessCounters:
    """Counters since the process started, summed over its threads. None: not provided by the system."""

    cpu: float | None  # seconds of processor time
    waited: float | None  # seconds in which a thread was runnable and no processor was free
    voluntary: int | None  # context switches because a thread waited
    involuntary: int | None  # context switches because a thread was preempted
    threads: int | None
    major_faults: int | None  # page faults that read from a disk
    read_bytes: int | None  # bytes read from a disk


def process(pid: int, root: Path = Path("/proc")) -> ProcessCounters:
    """Return the counters of a process now."""
    folder = root / str(pid)
    ticks, faults = _stat(_text(folder / "stat"))
    tasks = _tasks(folder)
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
        read_bytes=_field(_text(folder / "io"), "read_bytes"),
    )


def cores(root: Path = Path("/proc")) -> list[tuple[float, float]]:
    """Return (busy, total) seconds of each processor since boot; [] if the system does not provide them.

    Time stolen by a hypervisor counts as busy, since it was not available.
    """
    threads = []
    for line in _text(root / "stat").splitlines():
        match = re.match(r"cpu\d+ ((?:\d+ ?)+)", line)
        if match is None:
            continue
        # user nice system idle iowait irq softirq steal; guest time is in user already.
        fields = [int(part) for part in match.group(1).split()[:8]]
        if len(fields) >= 5:
            total = sum(fields)
            threads.append(((total - fields[3] - fields[4]) / TICK, total / TICK))
    return threads


def running(root: Path = Path("/proc")) -> int | None:
    """Return the number of running and runnable threads on the whole machine now."""
    return _field(_text(root / "stat"), "procs_running", separator=" ")


def available_memory(root: Path = Path("/proc")) -> int | None:
    """Return the bytes of memory available without swapping."""
    kilobytes = _field(_text(root / "meminfo"), "MemAvailable")
    return None if kilobytes is None else kilobytes * 1024


def quota(
    own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> tuple[int, int] | None:
    """Return (periods, throttled periods) of the control group's processor quota; None if there is no quota."""
    line = next((line for line in _text(own).splitlines() if line.startswith("0::")), None)
    if line is None:
        return None
    text = _text(root / line[3:].strip().lstrip("/") / "cpu.stat")
    periods, throttled = (_field(text, name, separator=" ") for name in ("nr_periods", "nr_throttled"))
    return (periods, throttled) if periods and throttled is not None else None


def _tasks(folder: Path) -> list[Path]:
    try:
        return list((folder / "task").iterdir())
    except OSError:
        return []


def _stat(text: str) -> tuple[int | None, int | None]:
    """Return (ticks of user and system time, major faults). The command's name may contain spaces and brackets."""
    fields = text.rpartition(")")[2].split()
    if len(fields) < 13 or not all(part.lstrip("-").isdigit() for part in fields[1:13]):
        return None, None
    return int(fields[11]) + int(fields[12]), int(fields[9])


def _run_delay(text: str) -> float | None:
    """Return the seconds runnable but not running: the second number of schedstat, which is in nanoseconds."""
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
    except OSError:  # the process ended, access is denied, or the system has no /proc
        return ""
