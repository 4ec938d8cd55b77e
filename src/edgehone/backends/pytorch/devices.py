"""The devices that are visible to PyTorch (worker side). Originals run on the CPU, as reference and baseline."""

from __future__ import annotations

import platform
from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.visible_devices import AbsentDevice, RuntimeDevice, VisibleDevices


def devices(job: WorkerJob) -> dict[str, Any]:
    """Return the CPU and every GPU of CUDA (which includes ROCm), Metal or XPU."""
    import torch

    listed = [RuntimeDevice("cpu", "cpu", platform.processor() or None)]
    absent = []
    for name, vendor, built in (
        ("cuda", "NVIDIA", torch.backends.cuda.is_built()),
        ("mps", "Apple", torch.backends.mps.is_built()),
        ("xpu", "Intel", hasattr(torch, "xpu") and torch.xpu._is_compiled()),
    ):
        # Metal has a single device without a name.
        count = 1 if name == "mps" and torch.backends.mps.is_available() else 0
        count = count if name == "mps" or not built else getattr(torch, name).device_count()
        for at in range(count):
            title = "Metal" if name == "mps" else getattr(torch, name).get_device_name(at)
            listed.append(RuntimeDevice(f"{name}:{at}", "gpu", title))
        if not count:
            reason = "it finds no device" if built else f"torch {torch.__version__} is built without it"
            absent.append(AbsentDevice(name, "gpu", vendor, reason))
    return VisibleDevices(tuple(listed), tuple(absent)).to_json()
