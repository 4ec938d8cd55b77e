"""The devices that MLX sees (worker side)."""

from __future__ import annotations

import platform
from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.visible_devices import AbsentDevice, RuntimeDevice, VisibleDevices


def devices(job: WorkerJob) -> dict[str, Any]:
    """The CPU, and the GPU by Metal or CUDA where this build has it."""
    import mlx.core as mx

    told = {name: value for name, value in mx.device_info().items() if isinstance(value, (int, str))}
    found = [RuntimeDevice("cpu", "cpu", platform.processor() or None)]
    ways = {"Metal": mx.metal.is_available(), "CUDA": mx.cuda.is_available()}
    way = next((name for name, there in ways.items() if there), None)
    if way:
        found.append(RuntimeDevice("gpu", "gpu", str(told.get("device_name", way)), {"by": way, **told}))
        return VisibleDevices(tuple(found)).to_json()
    metal = "this build is for the CPU: MLX for macOS on Apple silicon has Metal"
    absent = (
        AbsentDevice("Metal", "gpu", "Apple", metal),
        AbsentDevice("CUDA", "gpu", "NVIDIA", "this build is for the CPU: mlx[cuda12] or mlx[cuda13] has it"),
    )
    return VisibleDevices(tuple(found), absent).to_json()
