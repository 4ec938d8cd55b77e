"""Weights of transformers' models: loaded from safetensors alone, whole or not at all (worker side)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError


def load_weights(auto: Any, folder: Path, dtype: str) -> Any:
    """A model by one of transformers' Auto classes. ModelError where weights lack or cannot be loaded."""
    import torch

    try:
        model, told = auto.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto" if dtype == "stored" else getattr(torch, dtype),
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(f"the model in {source(folder)} cannot be loaded: {cause(error, folder)}") from error
    # transformers fills what is missing with random numbers and only warns.
    if told["missing_keys"] or told["mismatched_keys"]:
        lost = sorted(str(key) for key in {*told["missing_keys"], *told["mismatched_keys"]})
        raise ModelError(
            f"the weights in {source(folder)} lack {len(lost)} tensors of the right shape: {_few(lost)}",
            hint="download the model's safetensors files again",
        )
    return model.eval()


def source(folder: Path) -> Path:
    """The model's own folder, where `folder` holds links to its files."""
    return (folder / "config.json").resolve().parent


def cause(error: Exception, folder: Path) -> str:
    """The first line of an error, with the model's own folder in place of one of links."""
    said = str(error).replace(str(folder), str(source(folder)))
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
