"""A small but complete model folder, written byte by byte."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "U8": 1}
TENSORS = {"model.embed_tokens.weight": ("BF16", (32, 8)), "lm_head.weight": ("F32", (32, 8))}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 32,
    "max_position_embeddings": 64,
}
TOKENIZER = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "é": 1}, "merges": []}}

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]


def header_of(tensors: Shapes) -> tuple[bytes, int]:
    """The header's JSON and the bytes of data that it announces."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    return json.dumps(entries).encode(), end


def write_weights(path: Path, tensors: Shapes = TENSORS) -> None:
    """A safetensors file whose data is a hole: it takes no room on the disk."""
    header, data = header_of(tensors)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + data)


@pytest.fixture
def write() -> Callable[[Path, Shapes], None]:
    return write_weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole Llama: configuration, one weight file, tokenizer."""
    place = tmp_path / "llama"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIG))
    (place / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    write_weights(place / "model.safetensors")
    return place


@pytest.fixture
def configure(folder: Path) -> Callable[..., Path]:
    """Rewrites config.json of `folder` with other fields; None leaves a field out."""

    def change(**fields: object) -> Path:
        config = {name: value for name, value in {**CONFIG, **fields}.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return change
