"""llama.cpp on other devices than the CPU: which recipes can go there, and where a model is loaded.

Left alone, a build with CUDA, Metal or Vulkan puts all it can on what it finds; a candidate that names no device would
then be measured on one whose memory nobody counts. So each names its device, and the others run on the CPU alone.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.backends.llamacpp.devices import ggml
from edgehone.backends.shared.visible_devices import VisibleDevices, on_device
from edgehone.core.errors import EdgehoneError
from edgehone.model.info import ModelInfo

CPU = "CPU"
# llama.h: a negative number of layers is all of them.
_ALL = -1


def device_recipes(
    model: ModelInfo, recipes: Sequence[Recipe], seen: VisibleDevices
) -> tuple[list[Recipe], dict[str, str]]:
    """Each recipe on each device that was seen beside the CPU, and by device why there are none on it."""
    if model.task == "image-text-to-text":
        return [], {one.id: "models that see are run on the CPU" for one in seen.accelerators}
    return [
        on_device(recipe, one, f"all layers on {one.name or one.id}, with the CPU for what it does not take")
        for one in seen.accelerators
        for recipe in recipes
    ], {}


def load(library: Any, path: Path, params: Any, device: str) -> Any:
    """A GGUF file loaded with all layers on `device`, or none beside the CPU; what libllama returns, null if it can't.

    EdgehoneError for a device that this build does not see.
    """
    wanted = [] if device == CPU else [_handle(library, device)]
    ended_by_null = (ctypes.c_void_p * (len(wanted) + 1))(*wanted)
    params.devices = ctypes.cast(ended_by_null, ctypes.c_void_p)
    params.n_gpu_layers = _ALL if wanted else 0
    return library.llama_model_load_from_file(os.fsencode(path), params)


def _handle(library: Any, device: str) -> int:
    """ggml's pointer to a device."""
    core = ggml(library)
    core.ggml_backend_dev_by_name.argtypes = [ctypes.c_char_p]
    core.ggml_backend_dev_by_name.restype = ctypes.c_void_p
    found: int | None = core.ggml_backend_dev_by_name(device.encode())
    if not found:
        raise EdgehoneError(f"this llama.cpp sees no device {device!r}", hint="edgehone device")
    return found
