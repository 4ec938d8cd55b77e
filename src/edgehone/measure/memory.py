"""Memory: a fresh process that loads the artifact and answers every client of the workload once, watched from outside.

`peak_memory_bytes` is the kernel's own high-water mark of resident memory (VmHWM). It counts the framework's code,
the weights (memory-mapped or not), the KV cache and the working memory. What part of it is anonymous and what is
mapped from files is sampled by the parent from /proc/PID/status; PSS is read by the worker once it has generated.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.base import WorkerJob
from edgehone.figure import Figure
from edgehone.jobs.processes import memory_split
from edgehone.jobs.watch import Watch
from edgehone.measure.requests import open_requests

# The figures of this module, with their units.
UNITS = dict.fromkeys(
    ("peak_memory_bytes", "peak_anonymous_bytes", "peak_file_mapped_bytes", "pss_bytes", "cgroup_peak_bytes"),
    "bytes",
)


def exercise(job: WorkerJob) -> dict[str, Any]:
    """Load and answer a turn of requests, in the worker. args and inputs: those of `open_requests`."""
    asked = open_requests(job)
    asked.answer()
    facts = {"peak": _high_water(), "pss": _pss(), "cgroup_peak": _cgroup_peak()}
    asked.close()
    return facts


class MemoryWatch(Watch):
    """Samples the child's anonymous and file-mapped memory every 20 ms."""

    seconds = 0.02

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self.count = 0

    def sample(self, pid: int) -> None:
        """Keep the largest of each kind."""
        split = memory_split(pid)
        self.count += bool(split)
        for kind, size in split.items():
            self.peaks[kind] = max(size, self.peaks.get(kind, 0))

    def result(self) -> dict[str, Any]:
        """The peaks, and of how many samples."""
        return {"peaks": self.peaks, "samples": self.count}


def figures(facts: Mapping[str, Any], watch: Mapping[str, Any]) -> dict[str, Figure]:
    """Memory figures of one pass; each n is 1 (the peak of one process), so they have no interval."""
    peaks, samples = watch.get("peaks", {}), watch.get("samples", 0)
    unread = "this system does not tell anonymous and file-mapped memory of a process apart"
    return {
        "peak_memory_bytes": _bytes(facts["peak"], "this system keeps no high-water mark of resident memory"),
        "peak_anonymous_bytes": _bytes(peaks.get("anonymous"), unread, samples),
        "peak_file_mapped_bytes": _bytes(peaks.get("file"), unread, samples),
        "pss_bytes": _bytes(facts["pss"], "this system has no /proc/self/smaps_rollup"),
        "cgroup_peak_bytes": _bytes(
            facts["cgroup_peak"], "the process has no memory cgroup of its own to ask"
        ),
    }


def _bytes(value: int | None, reason: str, n: int = 1) -> Figure:
    return Figure.missing(reason, "bytes") if value is None else Figure(float(value), n=n, unit="bytes")


def _high_water() -> int | None:
    try:
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        if sys.platform == "darwin":
            import resource

            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _pss() -> int | None:
    try:
        for line in Path("/proc/self/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def _cgroup_peak(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """memory.peak (v2), only where the cgroup holds this process alone: else it counts the neighbours too."""
    try:
        line = next(line for line in own.read_text("ascii").splitlines() if line.startswith("0::"))
        folder = root / line[3:].lstrip("/")
        if len((folder / "cgroup.procs").read_text("ascii").split()) != 1:
            return None
        return int((folder / "memory.peak").read_text("ascii"))
    except (OSError, StopIteration, ValueError):
        return None
