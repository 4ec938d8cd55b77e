"""Devices that MLX detects (worker side)."""

from __future__ import annotations

import platform
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared.visible_devices import AbsentDevice, RuntimeDevice, VisibleDevices


def devices(job: WorkerJob) -> dict[str, Any]:
    """List the CPU, and the GPU if this build has Metal or CUDA; give the reasons for missing GPU support."""
    import mlx.core as mx

    facts = {name: value for name, value in mx.device_info().items() if isinstance(value, (int, str))}
    visible = [RuntimeDevice("cpu", "cpu", platform.processor() or None)]
    apis = {"Metal": mx.metal.is_available(), "CUDA": mx.cuda.is_available()}
    api = next((name for name, available in apis.items() if available), None)
    if api:
        visible.append(RuntimeDevice("gpu", "gpu", str(facts.get("device_name", api)), {"by": api, **facts}))
        return VisibleDevices(tuple(visible)).to_json()
    metal = "this build is for the CPU: MLX for macOS on Apple silicon has Metal"
    absent = (
        AbsentDevice("Metal", "gpu", "Apple", metal),
        AbsentDevice("CUDA", "gpu", "NVIDIA", "this build is for the CPU: mlx[cuda12] or mlx[cuda13] has it"),
    )
    return VisibleDevices(tuple(visible), absent).to_json()
