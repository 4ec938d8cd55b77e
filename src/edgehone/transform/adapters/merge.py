"""Merge a LoRA adapter into a copy of its base model, one tensor at a time.

W + scale · B·A is computed in float64 and rounded once to the type in which the base stores W. Memory: about three
times the largest changed tensor in float64. All other tensors and files are copied byte for byte.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import ModelError
from edgehone.formats.safetensors import Tensor
from edgehone.model import huggingface
from edgehone.model.info import ModelInfo
from edgehone.model.stores.locate import named
from edgehone.transform.adapters import arrays
from edgehone.transform.adapters.config import WEIGHTS, AdapterConfig
from edgehone.transform.adapters.match import Fit, fit

if TYPE_CHECKING:
    from edgehone.transform.adapters.arrays import Floats

Progress = Callable[[float], None]  # the fraction of the changed tensors that is written


@dataclass(frozen=True)
class Merged:
    """What a merge did: the tensors it changed, and how much of the change the base's type rounded away.

    `lost`: the norm of the rounding errors over the norm of the changes. The sum of a weight of 16 bits and a small
    change is rounded to 16 bits, so that a part of the change is lost; every merge into such a checkpoint has it.
    """

    tensors: int
    lost: float

    def note(self, adapter: Path) -> str:
        """Return a sentence for the report."""
        return (
            f"the original is the base model with the adapter {adapter.name} merged into {self.tensors} tensors; "
            f"rounding to the base's types changed the adapter's part by {self.lost:.2%} (root mean square)"
        )


def check(config: AdapterConfig, base: ModelInfo) -> Fit:
    """Return how an adapter fits a base model. Raises ModelError if it cannot be merged into it."""
    if base.format != "huggingface":
        raise ModelError(
            f"{config.folder} cannot be merged into {base.path}, a model in the format {base.format}",
            hint=f"give the float checkpoint that it was trained on{f': {config.base}' if config.base else ''}",
        )
    if base.quantized:
        raise ModelError(
            f"{config.folder} cannot be merged into {base.path}, which is quantized already ({base.quantized})",
            hint="give the unquantized base model",
        )
    return fit(config, base.path, _tensors(base.path), tied=bool(base.tied_embeddings))


def merge(
    config: AdapterConfig, base: ModelInfo, out: Path, progress: Progress = lambda part: None
) -> Merged:
    """Write the base with the adapter merged into it to the new folder `out`. Raises ModelError as `check`."""
    found = check(config, base)
    out.mkdir(parents=True)
    weights = huggingface.read_weights(base.path)
    for name in base.files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base.path / name, out / name)
    sums, done = _Sums(), 0
    for file, tensors in weights.headers.items():
        for name in tensors.keys() & found.changes.keys():
            _overwrite(
                out / file,
                tensors[name],
                _Merger(config, found, sums).changed(name, base.path / file, tensors[name]),
            )
            done += 1
            progress(done / len(found.changes))
    _keep_name(base.path, out)
    return Merged(len(found.changes), math.sqrt(sums.error / sums.change) if sums.change else 0.0)


@dataclass
class _Sums:
    """Squares of rounding errors and of changes, over all changed weights."""

    error: float = 0.0
    change: float = 0.0


@dataclass(frozen=True)
class _Merger:
    config: AdapterConfig
    found: Fit
    sums: _Sums

    def changed(self, name: str, path: Path, tensor: Tensor) -> bytes:
        """Return the new bytes of a tensor that the adapter changes."""
        change = self.found.changes[name]
        weight = arrays.load(path, name, tensor)
        if change.whole:
            exact = self._load(change.whole)
        else:
            product = self._load(change.b) @ self._load(change.a) * self.config.scale(change.module)
            exact = weight + (product.T if change.embedding or self.config.transposed else product)
        raw = arrays.encoded(exact, tensor.dtype)
        self._count(exact - weight, arrays.decoded(raw, tensor.dtype, tensor.shape) - exact)
        return raw

    def _load(self, name: str) -> Floats:
        return arrays.load(self.config.folder / WEIGHTS, name, self.found.stored[name])

    def _count(self, change: Floats, error: Floats) -> None:
        self.sums.change += float((change * change).sum())
        self.sums.error += float((error * error).sum())


def _tensors(folder: Path) -> dict[str, tuple[Path, Tensor]]:
    headers = huggingface.read_weights(folder).headers
    return {
        name: (folder / file, tensor) for file, tensors in headers.items() for name, tensor in tensors.items()
    }


def _overwrite(path: Path, tensor: Tensor, raw: bytes) -> None:
    with path.open("r+b") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
        file.seek(begin + tensor.start)
        file.write(raw)


def _keep_name(base: Path, out: Path) -> None:
    """State the base's name in config.json: llama.cpp recognizes some tokenizers (Phi-3's) by the model's name."""
    config: dict[str, Any] = json.loads((out / "config.json").read_text("utf-8"))
    config.setdefault("_name_or_path", named(base))
    (out / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
