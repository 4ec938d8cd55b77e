"""Load the artifact, answer one turn of the workload, and read this process's memory use from the kernel.

`evaluation.memory` samples the process from outside meanwhile and makes figures of both.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from edgehone.backends.capabilities import EmptyRuntimeBackend, capability
from edgehone.backends.sessions import DeviceMemorySession, WorkerJob
from edgehone.device import accelerator_memory
from edgehone.worker.backend import load_backend
from edgehone.worker.requests import open_requests


def exercise(job: WorkerJob) -> dict[str, Any]:
    """Load, answer a turn of requests, and return the bytes of memory used; args and inputs as of `open_requests`.

    Before that the runtime is started without a model, if the backend can do that; `runtime` is what it takes.
    `accelerator` is the memory of accelerators that the process uses after it has answered
    (`accelerator_memory.of_process`), None on the CPU.
    """
    before = accelerator_memory.used() if job.args["settings"].get("device") else None
    runtime = _empty_runtime(job)
    requests = open_requests(job)
    requests.answer()
    facts = {"peak": _high_water(), "runtime": runtime, "pss": _pss(), "cgroup_peak": _cgroup_peak()}
    accelerator = None if before is None else _on_accelerator(before, requests.session)
    requests.close()
    return {**facts, "accelerator": accelerator}


def _on_accelerator(before: accelerator_memory.Used, session: object) -> dict[str, Any]:
    """Return what the driver tells of this process, or else what the session does."""
    told = accelerator_memory.of_process(os.getpid(), before)
    reports_memory = capability(session, DeviceMemorySession)
    if told["bytes"] is None and reports_memory and (size := reports_memory.device_bytes()):
        return {"bytes": size, "sources": ["runtime"]}
    return told


def _empty_runtime(job: WorkerJob) -> int | None:
    """Start the backend's runtime and return the resident memory; None if the backend or the system cannot tell."""
    backend = capability(load_backend(job), EmptyRuntimeBackend)
    if backend is None:
        return None
    backend.start_runtime("graph" if "samples" in job.inputs else "language", job)
    return _status("VmRSS:")


def _status(field: str) -> int | None:
    lines = (
        Path("/proc/self/status").read_text("ascii").splitlines()
        if Path("/proc/self/status").exists()
        else []
    )
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)


def _high_water() -> int | None:
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _status("VmHWM:")


def _pss() -> int | None:
    try:
        for line in Path("/proc/self/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def _cgroup_peak(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return memory.peak (cgroup v2) if this process is alone in its cgroup; else it counts other processes too."""
    try:
        line = next(line for line in own.read_text("ascii").splitlines() if line.startswith("0::"))
        folder = root / line[3:].lstrip("/")
        if len((folder / "cgroup.procs").read_text("ascii").split()) != 1:
            return None
        return int((folder / "memory.peak").read_text("ascii"))
    except (OSError, StopIteration, ValueError):
        return None
