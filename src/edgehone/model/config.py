"""Read a model folder's JSON files, and fields of config.json whose names differ between model families."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError

JSON_LIMIT = 256 * 1024 * 1024  # bytes; configurations and indexes are far smaller
# Lists with an entry for each layer are made from a number that a file states, so a damaged one must not fill the
# memory. The deepest published models have about 1,000 layers.
LAYERS_LIMIT = 10_000

# A fact and its names in different model families, most common first.
NAMES: Mapping[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "hidden_size": ("hidden_size", "n_embd", "d_model", "model_dim", "dim"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff", "hidden_dim"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
    "head_dim": ("head_dim", "attention_head_dim", "kv_channels", "d_head"),
    "vocabulary": ("vocab_size", "padded_vocab_size", "n_vocab"),
    "context": ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length",
                "seq_length"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts", "num_routed_experts",
                "moe_num_experts", "n_experts"),
    "experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "experts_per_token",
                          "moe_topk", "moe_top_k", "moe_k", "top_k_experts"),
}  # fmt: skip


def read_bytes(path: Path, limit: int = JSON_LIMIT) -> bytes:
    """Return the content of a file. Raises ModelError if it is unreadable or larger than `limit` bytes."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise ModelError(f"{path} has {size} bytes, above the limit of {limit} for such a file")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if data.startswith(b"version https://git-lfs"):
        message = f"{path} is a Git LFS pointer, not the file itself"
        raise ModelError(message, hint=f"fetch it: cd {path.parent} && git lfs pull")
    return data


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises ModelError if it is unreadable, not JSON or not an object."""
    raw = read_bytes(path)
    if raw.startswith(codecs.BOM_UTF8):
        raise ModelError(
            f"{path} starts with a byte order mark, which the toolchains do not accept",
            hint=f"remove it: tail -c +4 {path} > without-mark && mv without-mark {path}",
        )
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        hint = "the file is damaged: download or copy it again"
        raise ModelError(f"{path} is not valid JSON: {error}", hint=hint) from error
    if not isinstance(data, dict):
        raise ModelError(f"{path} holds a JSON {type(data).__name__}, not an object")
    return data


def size_field(config: Mapping[str, Any], fact: str, path: Path) -> int | None:
    """Return the positive integer that `config` states for `fact` (a key of NAMES), or None if it states none.

    A list (one value per layer) is ignored. Raises ModelError, with the value, for anything else.
    """
    for name in NAMES[fact]:
        value = config.get(name)
        if value is None or isinstance(value, list):
            continue
        number = positive(value, name, path)
        return check_layers(number, name, path) if fact == "layers" else number
    return None


def positive(value: Any, name: str, path: Path) -> int:
    """Return `value` if it is an integer from 1 to 2**40. Raises ModelError, with field and file, otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**40:
        shown = repr(value)[:80]
        raise ModelError(f"{path}: {name} is {shown}, not a positive integer", hint="correct config.json")
    return value


def check_layers(layers: int, name: str, path: Path) -> int:
    """Return the number of layers. Raises ModelError, with field and file, if no model has so many."""
    if layers > LAYERS_LIMIT:
        raise ModelError(
            f"{path}: {name} is {layers}, above the limit of {LAYERS_LIMIT} layers",
            hint="the file is damaged: download or copy it again",
        )
    return layers
