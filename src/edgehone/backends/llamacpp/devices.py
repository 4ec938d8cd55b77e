"""The devices that are visible to this build of llama.cpp (worker side)."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from typing import Any

from edgehone.backends.llamacpp.tools import Toolchain
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.visible_devices import AbsentDevice, DeviceKind, RuntimeDevice, VisibleDevices

# enum ggml_backend_dev_type of ggml-backend.h: CPU, GPU, integrated GPU, accelerator (BLAS and the like, on the CPU).
_KINDS: dict[int, DeviceKind] = {0: "cpu", 1: "gpu", 2: "gpu", 3: "cpu"}
# Accelerators a build may support: device name, hardware vendor, cmake option, and the only system that has it.
_BUILDS = (
    ("CUDA", "NVIDIA", "GGML_CUDA", None),
    ("Metal", "Apple", "GGML_METAL", "Darwin"),
    ("Vulkan", None, "GGML_VULKAN", None),
)
_REBUILD = "compile llama.cpp with {option} and name its folder in EDGEHONE_TOOLCHAIN_LLAMACPP"


def devices(job: WorkerJob) -> dict[str, Any]:
    """Return all devices that ggml lists, with their memory, and those that another build could use."""
    library = ggml(Toolchain.at(job.toolchain).binding())
    listed = [_device(library, at) for at in range(library.ggml_backend_dev_count())]
    absent = [
        AbsentDevice(
            name, "gpu", vendor, f"this llama.cpp is built without it: {_REBUILD.format(option=option)}"
        )
        for name, vendor, option, system in _BUILDS
        if system in (None, platform.system()) and not any(one.id.startswith(name) for one in listed)
    ]
    return VisibleDevices(tuple(listed), tuple(absent)).to_json()


def ggml(binding: Any) -> Any:
    """Return libggml with the signatures of the functions used here. Libllama's binding loads it and its backends."""
    binding.llama_backend_init()
    folder = Path(binding._lib._name).parent
    name = next(iter([*folder.glob("libggml.so"), *folder.glob("libggml.dylib")]), None)
    library = ctypes.CDLL(str(name) if name else None)
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    for function in ("name", "description"):
        getattr(library, f"ggml_backend_dev_{function}").argtypes = [ctypes.c_void_p]
        getattr(library, f"ggml_backend_dev_{function}").restype = ctypes.c_char_p
    library.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    size = ctypes.POINTER(ctypes.c_size_t)
    library.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, size, size]
    return library


def _device(library: Any, at: int) -> RuntimeDevice:
    device = library.ggml_backend_dev_get(at)
    name, described = (
        getattr(library, f"ggml_backend_dev_{one}")(device).decode("utf-8", "replace")
        for one in ("name", "description")
    )
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    library.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
    kind = _KINDS.get(library.ggml_backend_dev_type(device), "gpu")
    facts = {"memory_bytes": total.value} if kind != "cpu" and total.value else {}
    return RuntimeDevice(name, kind, described, facts)
