"""Memory of a fresh process that loads the artifact and answers each client of the workload once.

`peak_memory_bytes` is the kernel's high-water mark of resident memory (VmHWM). It includes the framework's code, the
weights (memory-mapped or not), the KV cache and the working memory. `runtime_memory_bytes` is what the process takes
with the runtime started and no model, `added_memory_bytes` the difference: what the model adds. The parent process
samples the anonymous and file-mapped parts; the worker reads PSS after it has generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.core.figure import Figure
from edgehone.execution.processes import memory_split
from edgehone.execution.watch import Watch

# The figures of this module, with their units.
UNITS = dict.fromkeys(
    (
        "peak_memory_bytes",
        "runtime_memory_bytes",
        "added_memory_bytes",
        "peak_anonymous_bytes",
        "peak_file_mapped_bytes",
        "pss_bytes",
        "cgroup_peak_bytes",
    ),
    "bytes",
)


# Differences of resident memory between equal processes are smaller than this.
RESOLUTION = 1 << 20


class MemoryWatch(Watch):
    """Samples the child's anonymous and file-mapped memory every 20 ms."""

    seconds = 0.02

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self.count = 0

    def sample(self, pid: int) -> None:
        """Sample once, and keep the maximum of each part."""
        split = memory_split(pid)
        self.count += bool(split)
        for kind, size in split.items():
            self.peaks[kind] = max(size, self.peaks.get(kind, 0))

    def result(self) -> dict[str, Any]:
        """Return the peaks and the number of samples."""
        return {"peaks": self.peaks, "samples": self.count}


def figures(facts: Mapping[str, Any], watch: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the memory figures of one pass. They have no interval, since each is the peak of one process."""
    peaks, samples = watch.get("peaks", {}), watch.get("samples", 0)
    unread = "this system does not report anonymous and file-mapped memory of a process separately"
    return {
        "peak_memory_bytes": _bytes(facts["peak"], "this system has no high-water mark of resident memory"),
        **_added(facts),
        "peak_anonymous_bytes": _bytes(peaks.get("anonymous"), unread, samples),
        "peak_file_mapped_bytes": _bytes(peaks.get("file"), unread, samples),
        "pss_bytes": _bytes(facts["pss"], "this system has no /proc/self/smaps_rollup"),
        "cgroup_peak_bytes": _bytes(facts["cgroup_peak"], "the process has no memory cgroup of its own"),
    }


def _added(facts: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the memory of the empty runtime, and what the model adds to it, at least RESOLUTION."""
    peak, runtime = facts["peak"], facts["runtime"]
    reason = (
        "the backend cannot start its runtime without a model, or this system does not report resident memory"
    )
    added = None if peak is None or runtime is None else max(peak - runtime, RESOLUTION)
    return {
        "runtime_memory_bytes": _bytes(runtime, reason),
        "added_memory_bytes": _bytes(added, reason),
    }


def _bytes(value: int | None, reason: str, n: int = 1) -> Figure:
    return Figure.missing(reason, "bytes") if value is None else Figure(float(value), n=n, unit="bytes")
