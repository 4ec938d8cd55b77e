"""Devices that OpenVINO detects (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared.visible_devices import AbsentDevice, DeviceKind, RuntimeDevice, VisibleDevices

_KINDS: dict[str, DeviceKind] = {"CPU": "cpu", "GPU": "gpu", "NPU": "npu"}
# OpenVINO's plugins for accelerators run on Intel hardware only.
_VENDOR = "Intel"
# Name of a fact -> OpenVINO's property. Properties that a device does not support are left out.
_FACTS = {
    "capabilities": "OPTIMIZATION_CAPABILITIES",
    "architecture": "DEVICE_ARCHITECTURE",
    "memory_bytes": "GPU_DEVICE_TOTAL_MEM_SIZE",
    "driver": "NPU_DRIVER_VERSION",
}

# Instruction sets with which the CPU plugin computes in 16 bits unless it is told otherwise. On other processors,
# recipes that ask for float32 are the same as those that do not.
SIXTEEN_BIT = ("avx512_bf16", "avx512_fp16", "amx_bf16", "bf16", "fp16")


def devices(job: WorkerJob) -> dict[str, Any]:
    """List `Core().available_devices`, and give the reason for each device kind (CPU, GPU, NPU) that is missing."""
    import openvino as ov

    core = ov.Core()
    visible = [_device(core, name) for name in core.available_devices]
    kinds = {one.kind for one in visible}
    missing = [(name, kind) for name, kind in _KINDS.items() if kind not in kinds]
    absent = [AbsentDevice(name, kind, _VENDOR, _absence_reason(core, name)) for name, kind in missing]
    return VisibleDevices(tuple(visible), tuple(absent)).to_json()


def _device(core: Any, name: str) -> RuntimeDevice:
    supported = core.get_property(name, "SUPPORTED_PROPERTIES")
    facts = {
        ours: _plain(core.get_property(name, theirs))
        for ours, theirs in _FACTS.items()
        if theirs in supported
    }
    facts["kv_cache"] = "KV_CACHE_PRECISION" in supported
    kind = _KINDS.get(name.partition(".")[0], "gpu")
    return RuntimeDevice(name, kind, str(core.get_property(name, "FULL_DEVICE_NAME")), facts)


def _plain(value: Any) -> Any:
    """Convert a property's value to a type that JSON can hold."""
    if isinstance(value, list):
        return [str(item) for item in value]
    return value if isinstance(value, int) else str(value)


def _absence_reason(core: Any, name: str) -> str:
    """Return the plugin's own error message, most often about a missing driver library."""
    try:
        core.get_property(name, "FULL_DEVICE_NAME")
    except RuntimeError as error:
        for line in str(error).splitlines():
            if "Cannot load library" in line:
                cause = line.rpartition('": ')[2]  # without the path of the library
                return f"its plugin cannot be loaded: {cause}"
    return "its plugin finds no device: the driver is missing, or its device file cannot be opened"
