"""Memory of a fresh process that loads the artifact and answers each client of the workload once.

`peak_memory_bytes` is the kernel's high-water mark of resident memory (VmHWM). It includes the framework's code, the
weights (memory-mapped or not), the KV cache and the working memory. `runtime_memory_bytes` is what the process takes
with the runtime started and no model, `added_memory_bytes` the difference: what the model adds. The parent process
samples the anonymous and file-mapped parts; the worker reads PSS after it has generated.

On an accelerator `accelerator_memory_bytes` is what the process uses there (`device.accelerator_memory`), and the peak
and the added memory include all of it, also what the driver takes for itself. Memory of a GPU that shares the system's
may be counted twice, once as the process's, so the sum is never too small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.core.figure import Figure
from edgehone.device.accelerator_memory import UNTOLD, drm_bytes
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
# The figure that only candidates on accelerators have, in bytes.
ACCELERATOR = "accelerator_memory_bytes"

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


class AcceleratorWatch(MemoryWatch):
    """Samples the memory of accelerators too, where the kernel tells it."""

    def sample(self, pid: int) -> None:
        """Sample once, and keep the maximum of each part."""
        super().sample(pid)
        size = drm_bytes(pid)
        if size is not None:
            self.peaks["accelerator"] = max(size, self.peaks.get("accelerator", 0))


def figures(
    facts: Mapping[str, Any], watch: Mapping[str, Any], device: str | None = None
) -> dict[str, Figure]:
    """Return the memory figures of one pass, on the CPU or the accelerator `device`.

    They have no interval, since each is the peak of one process.
    """
    found = _of_process(facts, watch)
    if device is None:
        return found
    told = (facts["accelerator"]["bytes"], watch.get("peaks", {}).get("accelerator"))
    # A process that runs a model there and uses none is not believed.
    size = max((one for one in told if one), default=None)
    reason = f"the process's memory does not include {device}: {UNTOLD}"
    there = _bytes(size, reason)
    totals = {name: _with(found[name], there) for name in ("peak_memory_bytes", "added_memory_bytes")}
    return {**found, **totals, ACCELERATOR: there}


def _with(host: Figure, there: Figure) -> Figure:
    """Return the sum of the memory of the process and that of the accelerator; missing if one of them is."""
    if host.value is None or there.value is None:
        return host if host.value is None else there
    return Figure(host.value + there.value, n=1, unit="bytes")


def _of_process(facts: Mapping[str, Any], watch: Mapping[str, Any]) -> dict[str, Figure]:
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
