"""The size of the KV cache: which layers have one, how much it grows with each token, and where it stops growing.

A layer with attention keeps keys and values of every token, one with sliding-window attention those of the window at
most, and a layer of another kind (convolution, state space, linear attention) keeps none, only a state of constant size
that is not counted. Sizes are at 2 bytes per element. A runtime that does not make use of the windows takes more.

Which layers those are is stated by config.json in the words of each model family:
    layer_types, layers_block_type  the kind of each layer (transformers; Granite, LFM2, Qwen3-Next, Zamba)
    block_types                     kinds that repeat (RecurrentGemma)
    hybrid_override_pattern         a letter for each layer, * is attention (Nemotron-H)
    attn_type_list                  1 for each layer with attention (MiniMax)
    attn_layer_indices, full_attn_idxs  the numbers of the layers with attention (Bamba, LFM2)
    attn_layer_period, attn_layer_offset  every nth layer, from the offset on (Jamba)
    full_attention_interval         the last of every n layers (Qwen3-Next)
    sliding_window_pattern          the last of every n layers has no window (Gemma 3, Cohere 2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.model.config import NAMES, positive, size_field

if TYPE_CHECKING:
    from edgehone.model.info import ModelInfo

ELEMENT = 2  # bytes: f16

# "all": keys and values of every token; "window": of the sliding window; "none": no KV cache
Kind = Literal["all", "window", "none"]
# In the families whose configurations leave it out, the last of this many layers has no window.
PATTERNS = {
    "gemma2": 2, "vaultgemma": 2, "gemma3": 6, "gemma3_text": 6, "gemma3n": 5, "gemma3n_text": 5, "cohere2": 4,
    "olmo3": 4, "gpt_oss": 2, "gpt-oss": 2,
}  # fmt: skip
# The kinds that transformers and the configurations of these families name.
_KINDS: Mapping[str, Kind] = {
    "full_attention": "all", "attention": "all", "hybrid": "all", "global_attention": "all",
    "chunked_attention": "all", "sliding_attention": "window", "local_attention": "window",
    "linear_attention": "none", "conv": "none", "mamba": "none", "mamba2": "none", "recurrent": "none", "m": "none",
    "moe": "none", "mlp": "none",
}  # fmt: skip
_EVERY_LAYER = ("layer_types", "layers_block_type")
_INDICES = ("attn_layer_indices", "full_attn_idxs")
_WINDOWS = ("sliding_window", "attention_window_size")


@dataclass(frozen=True)
class Growth:
    """How a KV cache grows, in bytes per token of one sequence.

    `per_token` counts all layers that have a cache, `windowed` those of them that stop at the sliding window. None if
    the model does not state it; `notes` then say why, or else how many layers have a cache.
    """

    per_token: int | None
    windowed: int = 0
    notes: tuple[str, ...] = ()


def growth(kinds: Sequence[Kind], widths: Sequence[int]) -> Growth:
    """Return the growth from the kind of each layer and its width: the numbers in the keys and values of a token."""
    each = [ELEMENT * width for width in widths]
    cached = [size for kind, size in zip(kinds, each, strict=True) if kind != "none"]
    windowed = [size for kind, size in zip(kinds, each, strict=True) if kind == "window"]
    layers = sum(size > 0 for size in cached)
    notes = (f"{layers} of {len(kinds)} layers have a KV cache",) if layers < len(kinds) else ()
    return Growth(sum(cached), sum(windowed), notes)


def cache_bytes(model: ModelInfo, tokens: int) -> int | None:
    """Return the bytes of the 16-bit KV cache of one sequence of `tokens` tokens.

    0 for a graph; None if the model does not state what the size depends on.
    """
    if model.kind != "language":
        return 0
    return size_of(model.kv_bytes_per_token, model.kv_windowed_bytes_per_token, model.sliding_window, tokens)


def size_of(per_token: int | None, windowed: int, window: int | None, tokens: int) -> int | None:
    """Return the bytes after `tokens` tokens; None without `per_token`."""
    if per_token is None:
        return None
    within = tokens if window is None else min(tokens, window)
    return (per_token - windowed) * tokens + windowed * within


def of_config(text: Mapping[str, Any], kv_heads: int | None, head_dim: int | None, where: Path) -> Growth:
    """Return the growth that a config.json (of the language model's part) states.

    Raises ModelError for a value that cannot be one.
    """
    if text.get("kv_lora_rank") is not None:
        return Growth(None, notes=("multi-head latent attention: the KV cache depends on the runtime",))
    layers = size_field(text, "layers", where)
    each = _heads_of_layers(text, where)
    if layers is None or head_dim is None or (kv_heads is None and each is None):
        return Growth(
            None, notes=("config.json does not state layers, KV heads and head size: KV-cache bytes unknown",)
        )
    kinds = _kinds(text, layers, where)
    heads = each or [kv_heads or 0] * layers
    if kinds is None or len(kinds) != layers or len(heads) != layers:
        return Growth(
            None, notes=("which layers have a KV cache is not known: its size depends on the runtime",)
        )
    shared = text.get("num_kv_shared_layers")
    if shared:
        kinds = sharing(kinds, positive(shared, "num_kv_shared_layers", where))
    return growth(kinds, _widths(text, kinds, heads, head_dim, where))


def window_of(text: Mapping[str, Any]) -> int | None:
    """Return the sliding window in tokens that a config.json states, None if it has none or does not use it."""
    for name in _WINDOWS:
        window = text.get(name)
        unused = name == "sliding_window" and text.get("use_sliding_window") is False
        if not unused and isinstance(window, int) and not isinstance(window, bool) and window > 0:
            return window
    return None


def repeated(interval: int, layers: int, others: Kind) -> list[Kind]:
    """Return the kinds of layers of which the last of every `interval` ones has full attention."""
    return ["all" if (layer + 1) % interval == 0 else others for layer in range(layers)]


def sharing(kinds: Sequence[Kind], count: int) -> list[Kind]:
    """Return the kinds of layers of which the last `count` ones use the cache of earlier ones."""
    kept = max(len(kinds) - count, 0)
    return [kind if layer < kept else "none" for layer, kind in enumerate(kinds)]


def _widths(
    text: Mapping[str, Any], kinds: Sequence[Kind], heads: Sequence[int], head_dim: int, where: Path
) -> list[int]:
    """Return the width of each layer. In Gemma 4 layers without a window have heads of another size and number."""
    wide, few = text.get("global_head_dim"), text.get("num_global_key_value_heads")
    if wide is None:
        return [2 * count * head_dim for count in heads]
    wide = positive(wide, "global_head_dim", where)
    if few is None or not text.get("attention_k_eq_v"):
        shared = list(heads)
    else:
        shared = [positive(few, "num_global_key_value_heads", where)] * len(heads)
    return [
        2 * (one * wide if kind == "all" else other * head_dim)
        for kind, one, other in zip(kinds, shared, heads, strict=True)
    ]


def _heads_of_layers(text: Mapping[str, Any], where: Path) -> list[int] | None:
    """Return the KV heads of each layer where the configuration lists them (OpenELM)."""
    for name in NAMES["kv_heads"]:
        value = text.get(name)
        if isinstance(value, list) and value:
            return [positive(one, name, where) for one in value]
    return None


def _kinds(text: Mapping[str, Any], layers: int, where: Path) -> list[Kind] | None:
    """Return the kind of each layer, None if the configuration names one that is not known."""
    named = _named(text, layers)
    if named is not None:
        known = [_KINDS.get(str(name)) for name in named]
        return None if None in known else [kind for kind in known if kind is not None]
    if indices := next((text[name] for name in _INDICES if isinstance(text.get(name), list)), None):
        chosen = {one for one in indices if isinstance(one, int)}
        return ["all" if layer in chosen else "none" for layer in range(layers)]
    if text.get("attn_layer_period") is not None:
        period = positive(text["attn_layer_period"], "attn_layer_period", where)
        offset = text.get("attn_layer_offset")
        if not isinstance(offset, int):
            return None
        return ["all" if layer % period == offset else "none" for layer in range(layers)]
    if text.get("full_attention_interval") is not None:
        interval = positive(text["full_attention_interval"], "full_attention_interval", where)
        return repeated(interval, layers, "none")
    return _windows(text, layers, where)


def _named(text: Mapping[str, Any], layers: int) -> list[Any] | None:
    for name in _EVERY_LAYER:
        if isinstance(text.get(name), list) and text[name]:
            return list(text[name])
    if isinstance(text.get("hybrid_override_pattern"), str):
        return ["attention" if letter == "*" else "mamba" for letter in text["hybrid_override_pattern"]]
    if isinstance(text.get("attn_type_list"), list):
        return ["attention" if one == 1 else "linear_attention" for one in text["attn_type_list"]]
    blocks = text.get("block_types") or text.get("_block_types")
    if isinstance(blocks, list) and blocks:
        window = "local_attention" if window_of(text) else "attention"
        whole = [blocks[layer % len(blocks)] for layer in range(layers)]
        return [window if block == "attention" else block for block in whole]
    return None


def _windows(text: Mapping[str, Any], layers: int, where: Path) -> list[Kind]:
    """Return the kinds of layers that all have attention, some or all of them within a window."""
    if window_of(text) is None:
        return ["all"] * layers
    pattern = text.get("sliding_window_pattern") or text.get("_sliding_window_pattern")
    pattern = pattern or PATTERNS.get(str(text.get("model_type")))
    if pattern is not None:
        return repeated(positive(pattern, "sliding_window_pattern", where), layers, "window")
    first = text.get("max_window_layers", 0)
    return ["window" if isinstance(first, int) and layer >= first else "all" for layer in range(layers)]
