"""A LoRA adapter beside its base model, added to a context of libllama (worker side); `adapter_build` writes it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from edgehone.core.errors import EdgehoneError

ADAPTER = "adapter.gguf"
# The file that it belongs to: others in the folder, such as a draft model, have none.
_MODEL = "model.gguf"


def load(library: Any, model: Any, path: Path) -> Any:
    """Load adapter.gguf beside a model's file, None if there is none. Raises EdgehoneError if it does not fit."""
    place = path.with_name(ADAPTER)
    if path.name != _MODEL or not place.is_file():
        return None
    found = library.llama_adapter_lora_init(model, str(place).encode())
    if not found:
        raise EdgehoneError(f"llama.cpp cannot load {place}: it is an adapter for another base, or damaged")
    return found


def apply(library: Any, context: Any, adapter: Any) -> None:
    """Add a loaded adapter to a context. Raises EdgehoneError if libllama refuses it."""
    if adapter is None:
        return
    adapters = (library.llama_adapter_lora_p_ctypes * 1)(adapter)
    if library.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(1.0)):
        raise EdgehoneError("llama.cpp does not take the adapter for this context")
