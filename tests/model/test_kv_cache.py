"""The size of KV caches, from the configurations of model families and from keys of GGUF files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import ModelError
from edgehone.model import kv_cache
from edgehone.model.config import size_field

CONFIG = Path("config.json")
# (family, its config.json, layers with a cache, layers among them with a window)
FAMILIES: list[tuple[str, dict[str, Any], int, int]] = [
    ("llama", {"num_hidden_layers": 32, "num_key_value_heads": 8, "head_dim": 128}, 32, 0),
    (
        "lfm2",
        {"num_hidden_layers": 16, "num_key_value_heads": 8, "head_dim": 64, "model_type": "lfm2",
         "layer_types": [*["conv", "conv", "full_attention"] * 5, "conv"]},
        5, 0,
    ),
    (
        "lfm2, first release",
        {"num_hidden_layers": 16, "num_key_value_heads": 8, "head_dim": 64, "full_attn_idxs": [2, 5, 8, 10, 12, 14]},
        6, 0,
    ),
    (
        "jamba",
        {"num_hidden_layers": 32, "num_key_value_heads": 8, "head_dim": 128, "attn_layer_period": 8,
         "attn_layer_offset": 4},
        4, 0,
    ),
    (
        "qwen3_next",
        {"num_hidden_layers": 48, "num_key_value_heads": 2, "head_dim": 256, "full_attention_interval": 4},
        12, 0,
    ),
    (
        "granitemoehybrid",
        {"num_hidden_layers": 40, "num_key_value_heads": 4, "head_dim": 128,
         "layer_types": [*["mamba"] * 5, "attention", *["mamba"] * 9, "attention", *["mamba"] * 9, "attention",
                         *["mamba"] * 9, "attention", *["mamba"] * 4]},
        4, 0,
    ),
    ("bamba", {"num_hidden_layers": 32, "num_key_value_heads": 8, "head_dim": 128, "attn_layer_indices": [9, 18, 27]},
     3, 0),
    (
        "nemotron_h",
        {"num_hidden_layers": 8, "num_key_value_heads": 8, "head_dim": 128, "hybrid_override_pattern": "M-M*-M-*"},
        2, 0,
    ),
    (
        "zamba2",
        {"num_hidden_layers": 6, "num_key_value_heads": 32, "head_dim": 160,
         "layers_block_type": ["mamba", "mamba", "hybrid"] * 2},
        2, 0,
    ),
    ("minimax", {"num_hidden_layers": 8, "num_key_value_heads": 8, "head_dim": 128,
                 "attn_type_list": [0, 0, 0, 1, 0, 0, 0, 1]}, 2, 0),
    (
        "recurrent_gemma",
        {"num_hidden_layers": 26, "num_key_value_heads": 1, "head_dim": 256, "attention_window_size": 2048,
         "block_types": ["recurrent", "recurrent", "attention"]},
        8, 8,
    ),
    (
        "gemma3_text",
        {"num_hidden_layers": 26, "num_key_value_heads": 1, "head_dim": 256, "sliding_window": 512,
         "sliding_window_pattern": 6},
        26, 22,
    ),
    ("gemma2", {"num_hidden_layers": 26, "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096,
                "model_type": "gemma2"}, 26, 13),
    (
        "gpt_oss",
        {"num_hidden_layers": 24, "num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128,
         "layer_types": ["sliding_attention", "full_attention"] * 12},
        24, 12,
    ),
    ("mistral", {"num_hidden_layers": 32, "num_key_value_heads": 8, "head_dim": 128, "sliding_window": 4096}, 32, 32),
    (
        "qwen2",
        {"num_hidden_layers": 28, "num_key_value_heads": 4, "head_dim": 128, "sliding_window": 131072,
         "use_sliding_window": False, "max_window_layers": 28},
        28, 0,
    ),
    (
        "qwen2 with windows",
        {"num_hidden_layers": 28, "num_key_value_heads": 4, "head_dim": 128, "sliding_window": 4096,
         "use_sliding_window": True, "max_window_layers": 21},
        28, 7,
    ),
    (
        "gemma3n",
        {"num_hidden_layers": 35, "num_key_value_heads": 2, "head_dim": 256, "sliding_window": 512,
         "num_kv_shared_layers": 15, "layer_types": [*["sliding_attention"] * 4, "full_attention"] * 7},
        20, 16,
    ),
]  # fmt: skip


def growth_of(config: Mapping[str, Any]) -> kv_cache.Growth:
    heads, width = (size_field(config, name, CONFIG) for name in ("kv_heads", "head_dim"))
    return kv_cache.of_config(config, heads, width, CONFIG)


@pytest.mark.parametrize(
    ("config", "cached", "windowed"), [f[1:] for f in FAMILIES], ids=[f[0] for f in FAMILIES]
)
def test_which_layers_of_each_family_have_a_cache(config: dict[str, Any], cached: int, windowed: int) -> None:
    each = 2 * 2 * config["num_key_value_heads"] * config["head_dim"]
    found = growth_of(config)
    assert (found.per_token, found.windowed) == (each * cached, each * windowed)
    layers = config["num_hidden_layers"]
    assert found.notes == ((f"{cached} of {layers} layers have a KV cache",) if cached < layers else ())


def test_heads_that_differ_between_layers() -> None:
    found = growth_of({"num_hidden_layers": 3, "num_kv_heads": [3, 3, 5], "head_dim": 64})
    assert found.per_token == 2 * 2 * 11 * 64


@pytest.mark.parametrize(
    "stated",
    [
        {"layer_types": ["full_attention", "telepathy"]},
        {"layer_types": ["full_attention"]},
        {"hybrid_override_pattern": "M*M"},
        {"attn_layer_period": 2},
        {"num_kv_heads": [1, 2, 3], "num_key_value_heads": None},
    ],
)
def test_what_is_not_understood_is_unknown_with_a_note(stated: dict[str, Any]) -> None:
    found = growth_of({"num_hidden_layers": 2, "num_key_value_heads": 2, "head_dim": 8, **stated})
    assert found.per_token is None
    assert "which layers have a KV cache is not known" in found.notes[0]


@pytest.mark.parametrize("name", ["attn_layer_period", "full_attention_interval", "num_kv_shared_layers"])
def test_a_number_of_layers_that_is_none_is_refused(name: str) -> None:
    config = {
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "attn_layer_offset": 0,
        name: "two",
    }
    with pytest.raises(ModelError, match=f"{name} is 'two'"):
        growth_of(config)


def test_a_cache_stops_growing_at_the_window() -> None:
    assert kv_cache.size_of(100, 80, 10, 4) == 400
    assert kv_cache.size_of(100, 80, 10, 10) == 1000
    assert kv_cache.size_of(100, 80, 10, 1000) == 20 * 1000 + 80 * 10
    assert kv_cache.size_of(100, 0, None, 1000) == 100_000
    assert kv_cache.size_of(None, 0, None, 1000) is None
