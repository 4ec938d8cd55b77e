"""Propose recipes with surgery for a plan, as listed in surgery.toml, and give reasons for the rest."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.backends.base import EFFORTS, Effort, Recipe
from edgehone.model.info import ModelInfo
from edgehone.transform.surgery import operations


def propose(
    model: ModelInfo, recipes: Sequence[Recipe], effort: Effort
) -> tuple[list[Recipe], dict[str, str]]:
    """Return variants of one backend's recipes with surgery, and by operation the reason why it is not proposed.

    `recipes`: those of the backend in order of promise. The first that quantizes is combined with each surgery.
    """
    best = next((recipe for recipe in recipes if not recipe.exact and not recipe.surgery), None)
    proposed: dict[str, Recipe] = {}
    refused: dict[str, str] = {}
    if model.format != "huggingface" or model.kind != "language" or model.task == "image-text-to-text":
        return [], {}
    for entry in _table():
        if best is None or EFFORTS.index(entry["effort"]) > EFFORTS.index(effort):
            continue
        if "experts" in entry and not model.experts:
            continue
        if reason := _refusal(entry, model):
            refused[entry["operation"]] = reason
            continue
        surgery = {entry["operation"]: _value(entry, model)}
        name = best.name + operations.suffix(surgery)
        # If two shares round to the same number of blocks, the first is used.
        proposed.setdefault(
            name, replace(best, name=name, surgery=surgery, why=f"{best.why}; {entry['why']}")
        )
    return list(proposed.values()), refused


def model_types(operation: str) -> list[str]:
    """Return the model types that an operation is proposed for. A test applies it to and runs each of them."""
    return sorted(
        {name for entry in _table() if entry["operation"] == operation for name in entry["model_types"]}
    )


def _refusal(entry: Mapping[str, Any], model: ModelInfo) -> str | None:
    if model.model_type not in entry["model_types"]:
        return f"it is not tested for '{model.model_type}'"
    for what, count in (("layers", model.layers), ("experts", model.experts)):
        if what in entry and (count is None or count < entry[what]):
            return f"it needs at least {entry[what]} {what}, the model has {count or 'an unknown number'}"
    return None


def _value(entry: Mapping[str, Any], model: ModelInfo) -> Any:
    if entry["operation"] == "drop_layers":
        return max(1, round((model.layers or 0) * entry["value"]))
    return entry["value"]


@functools.cache
def _table() -> list[dict[str, Any]]:
    text = Path(__file__).with_name("surgery.toml").read_text("utf-8")
    variants: list[dict[str, Any]] = tomllib.loads(text)["variant"]
    return variants
