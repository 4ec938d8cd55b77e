"""Rewrite a checkpoint without some of its tensors or rows (worker side, no framework).

The remaining weights are copied byte for byte, in their stored dtype, one tensor at a time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgehone.core.errors import ModelError
from edgehone.formats.safetensors import Tensor, read_header

INDEX = "model.safetensors.index.json"
# Not copied: pickled weights and Python files, which run code, and weights in other formats, which hold the old model.
_LEFT_OUT = {
    ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".gguf", ".py", ".pyc",
}  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """The new name of a tensor that is kept, and which rows (of its first dimension) are kept; None for all rows."""

    name: str
    rows: Sequence[int] | None = None


Choose = Callable[[str, Tensor], Kept | None]


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return config


def tensors(folder: Path) -> dict[str, tuple[Path, Tensor]]:
    """Return every stored tensor by name, with the file that holds it. Raises ModelError if there is none."""
    stored = {
        name: (path, tensor)
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in read_header(path).items()
    }
    if not stored:
        raise ModelError(f"{folder} has no safetensors file", hint=f"edgehone inspect {folder}")
    return stored


def rewrite(source: Path, out: Path, config: Mapping[str, Any], choose: Choose) -> dict[str, int]:
    """Write `source` to `out` with another config.json and only the tensors and rows that `choose` keeps.

    Returns `bytes` and `parameters` of the weights. Raises ModelError for weights that cannot be read.
    """
    names: dict[str, str] = {}
    size = parameters = 0
    for path in sorted(source.glob("*.safetensors")):
        kept = {name: (t, k) for name, t in read_header(path).items() if (k := choose(name, t)) is not None}
        if kept:
            written = _write_shard(path, out / path.name, kept)
            names |= dict.fromkeys(written, path.name)
            size += sum(tensor.end - tensor.start for tensor in written.values())
            parameters += sum(tensor.elements for tensor in written.values())
    for path in source.iterdir():
        if path.is_file() and path.suffix not in _LEFT_OUT and not path.name.endswith(".index.json"):
            shutil.copyfile(path, out / path.name)
    if (source / INDEX).exists():
        index = {"metadata": {"total_size": size}, "weight_map": names}
        (out / INDEX).write_text(json.dumps(index, indent=1), "utf-8")
    # llama.cpp recognizes some tokenizers (Phi-3's) by the model's name, which is the folder's name without this key.
    named = {"_name_or_path": source.resolve().name, **config}
    (out / "config.json").write_text(json.dumps(named, indent=2), "utf-8")
    return {"bytes": size, "parameters": parameters}


def _write_shard(source: Path, target: Path, kept: Mapping[str, tuple[Tensor, Kept]]) -> dict[str, Tensor]:
    written: dict[str, Tensor] = {}
    at = 0
    for tensor, keep in kept.values():
        shape, size = tensor.shape, tensor.end - tensor.start
        if keep.rows is not None:
            size = size // shape[0] * len(keep.rows)
            shape = (len(keep.rows), *shape[1:])
        written[keep.name] = Tensor(tensor.dtype, shape, at, at + size)
        at += size
    header = json.dumps(
        {"__metadata__": {"format": "pt"}}
        | {
            name: {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [t.start, t.end]}
            for name, t in written.items()
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    with source.open("rb") as file, target.open("wb") as sink:
        weights = 8 + int.from_bytes(file.read(8), "little")
        sink.write(len(header).to_bytes(8, "little") + header)
        for tensor, keep in kept.values():
            _copy(file, sink, weights, tensor, keep.rows)
    return written


def _copy(file: BinaryIO, sink: BinaryIO, weights: int, tensor: Tensor, rows: Sequence[int] | None) -> None:
    start, size = weights + tensor.start, tensor.end - tensor.start
    if rows is None:
        file.seek(start)
        while size:
            size -= sink.write(file.read(min(size, 1 << 24)))
        return
    row = size // tensor.shape[0]
    for index in rows:
        file.seek(start + index * row)
        sink.write(file.read(row))
