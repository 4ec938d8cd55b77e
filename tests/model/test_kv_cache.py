"""The size of KV caches, from the configurations of model families and from keys of GGUF files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import ModelError
from edgehone.model import huggingface, kv_cache
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


def test_heads_of_layers_without_a_window_can_differ() -> None:
    """Gemma 4: four of six layers have their own cache, of which one has no window."""
    gemma = {
        "num_hidden_layers": 6,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "global_head_dim": 512,
        "sliding_window": 512,
        "num_kv_shared_layers": 2,
        "layer_types": [*["sliding_attention"] * 3, "full_attention", "sliding_attention", "full_attention"],
    }
    windowed = 2 * 2 * 3 * 4 * 256
    assert growth_of(gemma) == kv_cache.Growth(
        windowed + 2 * 2 * 4 * 512, windowed, ("4 of 6 layers have a KV cache",)
    )
    few = growth_of({**gemma, "num_global_key_value_heads": 1, "attention_k_eq_v": True})
    assert few.per_token == windowed + 2 * 2 * 512


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


COMMON = {
    "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64,
    "pad_token_id": 0,
}  # fmt: skip
HYBRIDS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"num_hidden_layers": 3},
    "lfm2": {"num_hidden_layers": 4, "layer_types": ["conv", "conv", "full_attention", "conv"]},
    "jamba": {
        "num_hidden_layers": 8, "attn_layer_period": 4, "attn_layer_offset": 1, "num_experts": 2,
        "use_mamba_kernels": False,
    },
    "qwen3_next": {
        "num_hidden_layers": 8, "head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "linear_num_value_heads": 4,
        "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    },
    "granitemoehybrid": {
        "num_hidden_layers": 4, "layer_types": ["mamba", "attention", "mamba", "mamba"], "mamba_n_heads": 4,
        "mamba_d_head": 32, "shared_intermediate_size": 32, "mamba_n_groups": 1, "mamba_d_state": 16,
    },
    "gemma3_text": {"num_hidden_layers": 7, "head_dim": 32, "sliding_window": 8},
    "gpt_oss": {"num_hidden_layers": 4, "head_dim": 32, "sliding_window": 8, "num_local_experts": 4},
}  # fmt: skip


@pytest.mark.real
def test_the_cache_is_as_large_as_that_of_transformers(
    run_worker: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "backends"))
    lengths = [5, 30]
    args = {"families": HYBRIDS, "common": COMMON, "lengths": lengths}
    found = run_worker("pytorch", "pytorchfunctions:cache_sizes", args, {}, tmp_path / "out")
    assert found.keys() == HYBRIDS.keys()
    for family, one in found.items():
        config = one["config"]
        stated = kv_cache.of_config(
            config, huggingface._kv_heads(config, CONFIG), huggingface._head_dim(config, CONFIG), CONFIG
        )
        window = kv_cache.window_of(config)
        sizes = [kv_cache.size_of(stated.per_token, stated.windowed, window, length) for length in lengths]
        # transformers keeps one token less of a window: the next one takes its place.
        if stated.windowed:
            sizes[1] = (sizes[1] or 0) - stated.windowed
        assert sizes == one["sizes"], family
