"""Read adapter_config.json of a PEFT folder, and refuse adapters that are more than plain LoRA."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.core.absence import why_absent
from edgehone.core.errors import ModelError
from edgehone.model.config import read_object

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
# Fields that change the arithmetic of the merge; a plain LoRA has them empty or false.
_UNSUPPORTED = {
    "use_dora": "DoRA",
    "layer_replication": "replicated layers",
    "lora_bias": "biases of the low-rank matrices",
    "trainable_token_indices": "single trained tokens",
    "target_parameters": "low-rank changes of parameters without a layer of their own",
    "alora_invocation_tokens": "activated LoRA",
    "use_qalora": "QALoRA",
    "megatron_config": "Megatron's parallel layers",
}


@dataclass(frozen=True)
class AdapterConfig:
    """What a LoRA adapter states: `rank` and `alpha`, with other values for modules whose names match a pattern."""

    folder: Path
    base: str | None  # base_model_name_or_path
    rank: int
    alpha: float
    root_scale: bool  # rsLoRA: alpha / sqrt(rank) instead of alpha / rank
    transposed: bool  # fan_in_fan_out: the base's weights are [in, out], as in GPT-2
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]

    def scale(self, module: str) -> float:
        """Return the factor of B·A for a module, as PEFT computes it (peft/tuners/lora/layer.py, update_layer)."""
        rank = self.rank_of(module)
        alpha: float = _of(self.alphas, module, self.alpha)
        return alpha / math.sqrt(rank) if self.root_scale else alpha / rank

    def rank_of(self, module: str) -> int:
        """Return the rank of a module."""
        rank: int = _of(self.ranks, module, self.rank)
        return rank


def read(folder: Path) -> AdapterConfig:
    """Read the configuration of an adapter.

    Raises ModelError if the folder is no PEFT adapter, its weights are missing or pickled, or it is not plain LoRA.
    """
    if not folder.is_dir():
        problem = why_absent(folder, f"no such adapter: {folder}")
        raise ModelError(problem, hint=f"give a folder with {CONFIG} and {WEIGHTS}")
    if not (folder / CONFIG).exists():
        raise ModelError(
            f"{folder} is not an adapter: it has no {CONFIG}",
            hint=f"give a folder with {CONFIG} and {WEIGHTS}",
        )
    config = read_object(folder / CONFIG)
    _check_kind(folder, config)
    _check_weights(folder)
    where = folder / CONFIG
    base = config.get("base_model_name_or_path")
    return AdapterConfig(
        folder,
        base if isinstance(base, str) and base else None,
        _rank(config.get("r", 8), "r", where),
        _number(config.get("lora_alpha", 8), "lora_alpha", where),
        bool(config.get("use_rslora")),
        bool(config.get("fan_in_fan_out")),
        {
            key: _rank(value, "rank_pattern", where)
            for key, value in _table(config, "rank_pattern", where).items()
        },
        {
            key: _number(value, "alpha_pattern", where)
            for key, value in _table(config, "alpha_pattern", where).items()
        },
    )


def _check_kind(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind is None and ("lora_parameters" in config or "fine_tune_type" in config):
        raise ModelError(f"{folder} is an adapter of MLX, not of PEFT", hint="merge it there: mlx_lm.fuse")
    if kind != "LORA":
        raise ModelError(
            f"{folder} is a {kind} adapter of PEFT; only LORA can be merged here",
            hint="merge it with PEFT: merge_and_unload",
        )
    for field, meaning in _UNSUPPORTED.items():
        if config.get(field):
            raise ModelError(
                f"{folder} uses {meaning} ({field}), which is not merged here",
                hint="merge it with PEFT: merge_and_unload",
            )


def _check_weights(folder: Path) -> None:
    if (folder / WEIGHTS).exists():
        return
    if (folder / "adapter_model.bin").exists():
        raise ModelError(
            f"{folder} holds pickled weights (adapter_model.bin); loading a pickle runs the code in it",
            hint="if you trust the source, save it again with PEFT: save_pretrained(…, safe_serialization=True)",
        )
    raise ModelError(
        why_absent(folder / WEIGHTS, f"{folder / WEIGHTS} is missing"),
        hint="copy or download the adapter again",
    )


def _table(config: Mapping[str, Any], name: str, where: Path) -> Mapping[str, Any]:
    table = config.get(name) or {}
    if not isinstance(table, dict):
        raise ModelError(f"{where}: {name} is {table!r}, not an object", hint="download the adapter again")
    for key in table:
        try:
            re.compile(key)
        except re.error as error:
            raise ModelError(
                f"{where}: {name} has the invalid pattern {key!r}: {error}", hint="download the adapter again"
            ) from error
    return table


def _rank(value: Any, name: str, where: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 1 << 20:
        raise ModelError(f"{where}: {name} is {value!r}, not a rank", hint="download the adapter again")
    return value


def _number(value: Any, name: str, where: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ModelError(f"{where}: {name} is {value!r}, not a number", hint="download the adapter again")
    return float(value)


def _of(table: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    """Return the value of the first pattern that a module's name matches, as PEFT's get_pattern_key does."""
    for pattern, value in table.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise
