"""The devices that PyTorch sees (worker side). Originals run on the CPU: it is where candidates are compared."""

from __future__ import annotations

import platform
from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.visible_devices import AbsentDevice, RuntimeDevice, VisibleDevices


def devices(job: WorkerJob) -> dict[str, Any]:
    """The CPU, and every GPU by CUDA (ROCm calls itself so too), Metal or XPU."""
    import torch

    found = [RuntimeDevice("cpu", "cpu", platform.processor() or None)]
    absent = []
    for name, vendor, there in (
        ("cuda", "NVIDIA", torch.backends.cuda.is_built()),
        ("mps", "Apple", torch.backends.mps.is_built()),
        ("xpu", "Intel", hasattr(torch, "xpu") and torch.xpu._is_compiled()),
    ):
        # Of Metal there is one device, without a name.
        count = 1 if name == "mps" and torch.backends.mps.is_available() else 0
        count = count if name == "mps" or not there else getattr(torch, name).device_count()
        for at in range(count):
            called = "Metal" if name == "mps" else getattr(torch, name).get_device_name(at)
            found.append(RuntimeDevice(f"{name}:{at}", "gpu", called))
        if not count:
            why = "it finds no device" if there else f"torch {torch.__version__} is built without it"
            absent.append(AbsentDevice(name, "gpu", vendor, why))
    return VisibleDevices(tuple(found), tuple(absent)).to_json()
