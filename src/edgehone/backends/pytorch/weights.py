"""Load weights of transformers' models from safetensors only, and only if they are complete (worker side)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError


def load_weights(auto: Any, folder: Path, dtype: str) -> Any:
    """Load a model with one of transformers' Auto classes. Raises ModelError if weights are missing or not loadable."""
    import torch

    try:
        model, loading = auto.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto" if dtype == "stored" else getattr(torch, dtype),
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(f"the model in {source(folder)} cannot be loaded: {cause(error, folder)}") from error
    # transformers initializes missing weights randomly and only warns.
    if missing := sorted(str(key) for key in {*loading["missing_keys"], *loading["mismatched_keys"]}):
        raise ModelError(
            f"the weights in {source(folder)} lack {len(missing)} tensors of the right shape: {_few(missing)}",
            hint="download the model's safetensors files again",
        )
    return model.eval()


def source(folder: Path) -> Path:
    """Return the model's own folder, given a folder of links to its files."""
    return (folder / "config.json").resolve().parent


def cause(error: Exception, folder: Path) -> str:
    """Return an error's type and first line, with the model's own folder instead of the folder of links."""
    message = str(error).replace(str(folder), str(source(folder)))
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
