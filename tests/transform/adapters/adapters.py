"""A small checkpoint and LoRA adapters for it, written byte by byte, with the values to expect after the merge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgehone.transform.adapters import arrays

Arrays = Mapping[str, tuple[str, NDArray[np.float64]]]

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 1,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 32,
    "tie_word_embeddings": False,
}
TOKENIZER = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "é": 1}, "merges": []}}
Q, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj"
SHAPES = {
    "model.embed_tokens": (32, 8), "lm_head": (32, 8), Q: (8, 8), DOWN: (8, 16),
    "model.layers.0.self_attn.k_proj": (8, 8), "model.layers.0.self_attn.v_proj": (8, 8),
    "model.layers.0.self_attn.o_proj": (8, 8), "model.layers.0.mlp.up_proj": (16, 8),
    "model.layers.0.mlp.gate_proj": (16, 8),
}  # fmt: skip


def save(path: Path, tensors: Arrays) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (dtype, array) in tensors.items():
        raw = arrays.encoded(array, dtype)
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def values(shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=shape)


def base(folder: Path, dtype: str = "F32", *, shards: bool = False, **config: Any) -> Path:
    """A Llama of one layer; with `shards` in two files."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    tensors = {
        f"{name}.weight": (dtype, values(shape, at)) for at, (name, shape) in enumerate(SHAPES.items())
    }
    if not shards:
        save(folder / "model.safetensors", tensors)
        return folder
    names = list(tensors)
    index: dict[str, str] = {}
    for number, part in enumerate((names[:3], names[3:]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save(folder / file, {name: tensors[name] for name in part})
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def lora(folder: Path, modules: Mapping[str, tuple[int, int]], *, rank: int = 2, **config: Any) -> Path:
    """An adapter with random matrices for modules of these shapes [out, in]."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, tuple[str, NDArray[np.float64]]] = {}
    for at, (module, (rows, columns)) in enumerate(modules.items()):
        tensors[f"base_model.model.{module}.lora_A.weight"] = ("F32", values((rank, columns), 100 + at))
        tensors[f"base_model.model.{module}.lora_B.weight"] = ("F32", values((rows, rank), 200 + at))
    save(folder / "adapter_model.safetensors", tensors)
    stated = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 8,
        "base_model_name_or_path": "acme/tiny",
        **config,
    }
    (folder / "adapter_config.json").write_text(json.dumps(stated))
    return folder


def load(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Every tensor of a checkpoint or adapter."""
    from edgehone.formats.safetensors import read_header

    return {
        name: arrays.load(path, name, tensor)
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in read_header(path).items()
    }
