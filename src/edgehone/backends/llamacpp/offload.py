"""Offloading to devices other than the CPU: recipes for them, and loading a model onto one.

By default a llama.cpp built with CUDA, Metal or Vulkan offloads all it can to whatever device it finds. A candidate
that names no device would then run on one, and its memory there would not be counted. Therefore a candidate either
names its device or runs on the CPU alone.
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
    model: ModelInfo, recipes: Sequence[Recipe], visible: VisibleDevices
) -> tuple[list[Recipe], dict[str, str]]:
    """Return each recipe on each visible accelerator, and by device id why there are none on it."""
    if model.task == "image-text-to-text":
        return [], {one.id: "vision-language models run on the CPU only" for one in visible.accelerators}
    return [
        on_device(
            recipe, one, f"all layers on {one.name or one.id}, with the CPU for operators it does not support"
        )
        for one in visible.accelerators
        for recipe in recipes
    ], {}


def offloadable_layers(recipe: Recipe, model: ModelInfo) -> int:
    """Return the number of layers that can be on the recipe's device: the blocks, and last the head.

    0 on the CPU, or if the number of blocks is unknown.
    """
    return model.layers + 1 if recipe.device and model.layers else 0


def load_model(library: Any, path: Path, params: Any, device: str, layers: int | None = None) -> Any:
    """Load a GGUF file with `layers` on `device` (default: all); return libllama's pointer, null if it failed.

    Raises EdgehoneError for a device that is not visible to this build.
    """
    devices = [] if device == CPU else [_handle(library, device)]
    null_terminated = (ctypes.c_void_p * (len(devices) + 1))(*devices)
    params.devices = ctypes.cast(null_terminated, ctypes.c_void_p)
    params.n_gpu_layers = (_ALL if layers is None else layers) if devices else 0
    return library.llama_model_load_from_file(os.fsencode(path), params)


def _handle(library: Any, device: str) -> int:
    """Return ggml's pointer to a device."""
    core = ggml(library)
    core.ggml_backend_dev_by_name.argtypes = [ctypes.c_char_p]
    core.ggml_backend_dev_by_name.restype = ctypes.c_void_p
    device_pointer: int | None = core.ggml_backend_dev_by_name(device.encode())
    if not device_pointer:
        raise EdgehoneError(f"the device {device!r} is not visible to this llama.cpp", hint="edgehone device")
    return device_pointer
