"""Give converters a checkpoint without what they cannot read, though it does not matter (worker side).

llama.cpp's fails for stored masks (GPT-2 as published) and for a token id of -1, which older libraries wrote for
"none"; it and mlx-lm fail for a GPT-2 without the older name of its context's length. Both know the parts of
vision-language models by the names in published checkpoints, which transformers 5 writes inside of `model.`, and an
Idefics 3's language model by its architecture.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgehone.formats.safetensors import Tensor, read_header
from edgehone.model.shapes import is_buffer

# Vision-language models whose language model published checkpoints name, and transformers 5 does not.
_NAMELESS = ("idefics3", "smolvlm")
_NAMES = {"llama": "LlamaForCausalLM"}
_COPIED = 64 << 20  # bytes at a time
_INSIDE = re.compile(r"model\.(?=visual\.|vision_tower\.|multi_modal_projector\.|language_model\.model\.)")


@contextmanager
def plain_checkpoint(model: Path, work: Path) -> Iterator[Path]:
    """Yield `model`, or a folder of the same name under `work` with links to its files and changed copies of some.

    `work` must not exist; it is deleted at the end.
    """
    config = _config(model)
    shards = {path: _changes(path) for path in sorted(model.glob("*.safetensors"))}
    if config is None and not any(shards.values()):
        yield model
        return
    folder = work / model.name
    folder.mkdir(parents=True)
    try:
        for path in model.iterdir():  # folders too: modules of sentence-transformers lie in them
            (folder / path.name).symlink_to(path.resolve())
        if config is not None:
            (folder / "config.json").unlink()
            (folder / "config.json").write_text(json.dumps(config), "utf-8")
        for path, changes in shards.items():
            if changes:
                (folder / path.name).unlink()
                _copy_changed(path, changes, folder / path.name)
        if any(shards.values()):
            _correct_index(folder, {old: new for changes in shards.values() for old, new in changes.items()})
        yield folder
    finally:
        shutil.rmtree(work)


def _config(model: Path) -> dict[str, Any] | None:
    """Return config.json with what is to be changed, or None if nothing is."""
    path = model / "config.json"
    if not path.is_file():
        return None
    config = json.loads(path.read_text("utf-8"))
    none = [name for name, value in config.items() if name.endswith("_token_id") and _is_negative(value)]
    changed = {name: value for name, value in config.items() if name not in none}
    if config.get("model_type") == "gpt2" and "n_ctx" not in config and "n_positions" in config:
        changed["n_ctx"] = config["n_positions"]
    language = config.get("text_config")
    if (
        config.get("model_type") in _NAMELESS
        and isinstance(language, dict)
        and not language.get("architectures")
    ):
        name = _NAMES.get(str(language.get("model_type")))
        changed["text_config"] = {**language, **({"architectures": [name]} if name else {})}
    return changed if changed != config else None


def _is_negative(value: Any) -> bool:
    return isinstance(value, int) and value < 0


def _changes(path: Path) -> dict[str, str | None]:
    """Return the tensors that are left out (None) or have another name there."""
    found: dict[str, str | None] = {}
    for name, one in read_header(path).items():
        if is_buffer(name, one.shape):
            found[name] = None
        elif _INSIDE.match(name):
            found[name] = name.removeprefix("model.")
    return found


def _copy_changed(path: Path, changes: Mapping[str, str | None], target: Path) -> None:
    """Copy a safetensors file with tensors left out or named otherwise."""
    named = {changes.get(name, name): one for name, one in read_header(path).items()}
    kept: dict[str, Tensor] = {name: one for name, one in named.items() if name is not None}
    header, end = dict[str, Any](), 0
    for name, one in kept.items():
        size = one.end - one.start
        header[name] = {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with path.open("rb") as source, target.open("wb") as file:
        begin = 8 + int.from_bytes(source.read(8), "little")
        file.write(len(text).to_bytes(8, "little") + text)
        for one in kept.values():
            source.seek(begin + one.start)
            left = one.end - one.start
            while left:
                part = source.read(min(left, _COPIED))
                file.write(part)
                left -= len(part)


def _correct_index(folder: Path, changes: Mapping[str, str | None]) -> None:
    path = folder / "model.safetensors.index.json"
    if not path.is_file():
        return
    index = json.loads(path.read_text("utf-8"))
    named = {changes.get(name, name): file for name, file in index["weight_map"].items()}
    index["weight_map"] = {name: file for name, file in named.items() if name is not None}
    path.unlink()
    path.write_text(json.dumps(index), "utf-8")
