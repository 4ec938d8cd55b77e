"""The devices that OpenVINO sees (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.visible_devices import AbsentDevice, DeviceKind, RuntimeDevice, VisibleDevices

_KINDS: dict[str, DeviceKind] = {"CPU": "cpu", "GPU": "gpu", "NPU": "npu"}
# Its plugins for accelerators are Intel's.
_VENDOR = "Intel"
# Our name of a fact -> OpenVINO's property; what a device does not have is left out.
_FACTS = {
    "capabilities": "OPTIMIZATION_CAPABILITIES",
    "architecture": "DEVICE_ARCHITECTURE",
    "memory_bytes": "GPU_DEVICE_TOTAL_MEM_SIZE",
    "driver": "NPU_DRIVER_VERSION",
}


def devices(job: WorkerJob) -> dict[str, Any]:
    """All of `Core().available_devices`, and why there is no GPU or NPU among them."""
    import openvino as ov

    core = ov.Core()
    found = [_device(core, name) for name in core.available_devices]
    kinds = {one.kind for one in found}
    lacking = [(name, kind) for name, kind in _KINDS.items() if kind not in kinds]
    absent = [AbsentDevice(name, kind, _VENDOR, _why(core, name)) for name, kind in lacking]
    return VisibleDevices(tuple(found), tuple(absent)).to_json()


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
    return (
        [str(one) for one in value]
        if isinstance(value, list)
        else value
        if isinstance(value, int)
        else str(value)
    )


def _why(core: Any, name: str) -> str:
    """The plugin's own words: most often a library of the driver that is not there."""
    try:
        core.get_property(name, "FULL_DEVICE_NAME")
    except RuntimeError as error:
        for line in str(error).splitlines():
            if "Cannot load library" in line:
                cause = line.rpartition('": ')[2]  # the library's own path stands before it
                return f"its plugin cannot be loaded: {cause}"
    return "its plugin finds no device: the device's driver is not there, or may not be opened"
