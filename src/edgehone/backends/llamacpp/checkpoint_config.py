"""The configuration that transformers needs to run what a GGUF file holds, by the table in checkpoints.toml.

A file that states what has no place in the configuration is refused by name, so that nothing is lost in silence.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends.llamacpp.checkpoint_rotary import rotary
from edgehone.core.errors import ModelError
from edgehone.formats.gguf import Header

# Read in workers, so part of the key of their jobs (edgehone.execution.source_digest).
WORKER_DATA_FILES = ("checkpoints.toml",)

HINT = "use the recipes without GPTQ, or give the float original"
# Keys that are read apart from the table.
_ROTARY = ("rope.freq_base", "rope.freq_base_swa", "rope.dimension_count")
_VALUES = "attention.value_length"
_NEEDED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


@dataclass(frozen=True)
class Architecture:
    """How the files of an architecture differ from transformers' checkpoints: see checkpoints.toml."""

    model_type: str
    config: Mapping[str, str]
    paired: bool = False
    norms: float = 0.0
    scaled: bool = False
    windows: float | None = None


@functools.cache
def architectures() -> Mapping[str, Architecture]:
    """Return the architectures that have a checkpoint, by their names in GGUF files."""
    table = tomllib.loads(Path(__file__).with_name("checkpoints.toml").read_text("utf-8"))
    return {
        name: Architecture(**{**one, "config": {**table["config"], **one.get("config", {})}})
        for name, one in table["architecture"].items()
    }


def configuration(header: Header, divisors: Sequence[float] | None = None) -> dict[str, Any]:
    """Return transformers' configuration for a file. `divisors` are its rope_freqs.weight, if it has one.

    Raises ModelError if the file states what is not known here.
    """
    name = str(header.values.get("general.architecture"))
    if name not in architectures():
        raise ModelError(f"files of the architecture '{name}' have no checkpoint", hint=HINT)
    known = architectures()[name]
    stated = _stated(header, name, known)
    config = {known.config[key]: stated[key] for key in known.config if key in stated}
    embedding = header.tensors.get("token_embd.weight")
    if missing := [one for one in _NEEDED if not config.get(one)]:
        raise ModelError(f"the file does not state its {missing[0]}", hint="convert the model again")
    if embedding is None or len(embedding.dims) != 2:
        raise ModelError("the file has no embeddings (token_embd.weight)", hint="download the file again")
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    length = config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    for key in ("rope.dimension_count", _VALUES):
        if stated.get(key, length) != length:
            raise ModelError(f"the file's {name}.{key} is {stated[key]}, its heads have {length}", hint=HINT)
    if config.get("sliding_window") == 0:
        config["sliding_window"] = None
    return {
        **config,
        **({"query_pre_attn_scalar": length} if known.scaled else {}),
        "model_type": known.model_type,
        "vocab_size": embedding.dims[1],
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "rope_parameters": rotary(stated, known.windows, length, divisors),
        "pad_token_id": None,
        "dtype": "float32",
    }


def _stated(header: Header, name: str, known: Architecture) -> dict[str, Any]:
    """Return what a file states of its architecture, by keys without its name. Raises ModelError for unknown keys."""
    arrays = {key.removeprefix(f"{name}.") for key in header.lengths if key.startswith(f"{name}.")}
    stated = {
        key.removeprefix(f"{name}."): value
        for key, value in header.values.items()
        if key.startswith(f"{name}.")
    }
    if unknown := sorted((stated.keys() | arrays) - known.config.keys() - {*_ROTARY, _VALUES}):
        raise ModelError(
            f"the file states {name}.{unknown[0]}, which has no place in a checkpoint", hint=HINT
        )
    if odd := sorted(arrays | {key for key, value in stated.items() if not isinstance(value, (int, float))}):
        raise ModelError(f"the file's {name}.{odd[0]} is not one number for all layers", hint=HINT)
    return stated
