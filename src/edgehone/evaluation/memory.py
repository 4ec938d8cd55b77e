"""Memory: a fresh process that loads the artifact and answers every client of the workload once, watched from outside.

`peak_memory_bytes` is the kernel's own high-water mark of resident memory (VmHWM). It counts the framework's code,
the weights (memory-mapped or not), the KV cache and the working memory. What part of it is anonymous and what is
mapped from files is sampled by the parent from /proc/PID/status; PSS is read by the worker once it has generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.core.figure import Figure
from edgehone.execution.processes import memory_split
from edgehone.execution.watch import Watch

# The figures of this module, with their units.
UNITS = dict.fromkeys(
    ("peak_memory_bytes", "peak_anonymous_bytes", "peak_file_mapped_bytes", "pss_bytes", "cgroup_peak_bytes"),
    "bytes",
)


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
