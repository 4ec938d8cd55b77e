"""Mixture-of-experts models: the layers with experts, and experts shared by all tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgehone.model.config import NAMES

_SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
# Widths of a dense feed-forward part next to the experts, which amounts to one shared expert.
_SHARED_WIDTHS = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
)


def expert_fields(text: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `text` with nested expert fields (DBRX) merged in, and without counts of 0, which mean 'dense'."""
    nested = text.get("ffn_config")
    merged = dict(text)
    if isinstance(nested, dict):
        merged |= {name: nested[name] for name in ("moe_num_experts", "moe_top_k") if name in nested}
    for name in (*NAMES["experts"], *NAMES["experts_per_token"]):
        if merged.get(name) == 0 and not isinstance(merged[name], bool):
            del merged[name]
    if text.get("enable_moe_block") is False:
        merged = {name: value for name, value in merged.items() if name not in NAMES["experts"]}
    return merged


def notes(
    text: Mapping[str, Any], experts: int | None, per_token: int | None, layers: int | None
) -> list[str]:
    """Return a note on the experts and their layers. Empty for a dense model."""
    if experts is None or experts < 2:
        return []
    routed = expert_layers(text, layers)
    if routed is None or layers is None:
        where = "in layers that config.json does not state"
    elif len(routed) == layers:
        where = f"in all {layers} layers"
    else:
        where = f"in {len(routed)} of {layers} layers ({_ranges(routed)})"
    used = f", {per_token} per token" if per_token else ""
    shared = _shared(text)
    shared_note = f"; {shared} shared by all tokens" if shared else ""
    return [f"mixture of experts: {experts} {where}{used}{shared_note}"]


def expert_layers(text: Mapping[str, Any], layers: int | None) -> list[int] | None:
    """Return the layers with experts, counted from 0, by the rules of transformers' models, or None if unknown."""
    if layers is None:
        return None
    kinds = text.get("mlp_layer_types")
    if isinstance(kinds, list) and kinds:
        return [number for number, kind in enumerate(kinds[:layers]) if kind == "sparse"]
    listed = text.get("moe_layers")
    if isinstance(listed, list) and listed and all(_is_count(number) for number in listed):
        return sorted({number for number in listed if number < layers})
    rule = _rule(text, layers)
    return [number for number in range(layers) if rule(number)]


def _rule(text: Mapping[str, Any], layers: int) -> Callable[[int], bool]:
    dense = text.get("mlp_only_layers")
    excluded = set(filter(_is_count, dense)) if isinstance(dense, list) else set()
    first, step = _count(text, "first_k_dense_replace", 0), _count(text, "decoder_sparse_step", 1)
    if "expert_layer_period" in text:  # Jamba
        period, offset = _count(text, "expert_layer_period", 1), _count(text, "expert_layer_offset", 0)
        return lambda number: number % max(period, 1) == offset
    if "interleave_moe_layer_step" in text:  # Llama 4
        step = _count(text, "interleave_moe_layer_step", 1)
    if "moe_layer_interval" in text or "moe_layer_start_index" in text:  # ERNIE 4.5
        step, first = _count(text, "moe_layer_interval", 1), _count(text, "moe_layer_start_index", 0)
        last = _count(text, "moe_layer_end_index", layers - 1)
        return lambda number: first <= number <= last and (number + 1) % max(step, 1) == 0
    return lambda number: number >= first and number not in excluded and (number + 1) % max(step, 1) == 0


def _shared(text: Mapping[str, Any]) -> int:
    for name in _SHARED:
        if _is_count(text.get(name)) and text[name]:
            return int(text[name])
    if any(_is_count(text.get(name)) and text[name] for name in _SHARED_WIDTHS):
        return 1
    return 1 if str(text.get("model_type")).startswith("llama4") else 0


def _ranges(numbers: list[int]) -> str:
    """Return numbers as at most six ranges: "3–60", "1, 3, 5, …"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [str(low) if low == high else f"{low}–{high}" for low, high in runs[:6]]
    return ", ".join(shown) + (", …" if len(runs) > 6 else "") if runs else "none"


def _count(text: Mapping[str, Any], name: str, default: int) -> int:
    value = text.get(name)
    return int(value) if value is not None and _is_count(value) else default


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
