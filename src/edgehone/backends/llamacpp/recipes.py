"""The recipes of the llamacpp backend: those of recipes.toml that lower the precision of the model at hand."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.backends.base import EFFORTS, Recipe, TunableSetting
from edgehone.backends.llamacpp import checkpoint_config, gptq_work, vision_families
from edgehone.backends.shared.tunable_settings import Kind, settings_from_table
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

NAME = "llamacpp"
EXACT = "F16"
# Types of a GGUF file from which other types can sensibly be quantized, with their bits per weight.
SOURCE_BITS = {"F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5}
# A mix that makes a GGUF file smaller by less than this is not worth a candidate.
_LEAST_GAIN = 1.05
_INTEGERS = {"I8", "I16", "I32", "I64"}
# What decoding pays for an adapter apart: docs/models.md has the figures.
_APART = "the adapter apart costs four more operations for each matrix and token, merged it costs none"
# Types that llama-quantize accepts as a source without --allow-requantize.
FLOATS = ("F32", "F16", "BF16")


def checkpoint_recipes(model: ModelInfo) -> list[Recipe]:
    """Return F16, then each quantized type with and without an importance matrix, the most promising first."""
    return _counted(_checkpoint_recipes(model), model)


def _counted(recipes: Sequence[Recipe], model: ModelInfo) -> list[Recipe]:
    """Return the recipes with the operations of their calibration."""
    return [
        replace(recipe, operations=gptq_work.calibration_operations(recipe.build, model, recipe.bits or 0.0))
        for recipe in recipes
    ]


def _checkpoint_recipes(model: ModelInfo) -> list[Recipe]:
    refined = supports_gptq(model)
    exact, *types = _table()
    why, build = _why(exact, model), {"type": EXACT}
    recipes = [
        Recipe(NAME, EXACT, build, effort=exact["effort"], exact=True, why=why, bits=exact["bits"]),
        *_types(types, model, {}, refined),
    ]
    recipes += [_mixed(entry, model, {}) for entry in _table("mix")] if refined else []
    # For other models the sensitivity measurement does not cover all weights.
    if model.task == "text-generation" and not model.experts:
        recipes += [_assigned(entry, refined, {}) for entry in _table("assigned")]
        recipes += [_drafted(entry, recipes) for entry in _table("drafted")]
    return recipes + (_expert_variants(recipes) if model.experts else [])


def _types(
    entries: Iterable[Mapping[str, Any]], model: ModelInfo, build: Mapping[str, Any], refined: bool
) -> list[Recipe]:
    """Return the recipes of types: with GPTQ if that is possible (`refined`), and with and without a matrix."""
    recipes = []
    for entry in entries:
        pair = _pair(entry, build, _why(entry, model))
        if refined and "gptq_effort" in entry:
            # GPTQ is better at the same size, so the other two are tried only at a higher effort.
            recipes.append(_refined(entry, pair[0]))
            lowest = entry["effort_beside_gptq"]
            pair = [replace(one, effort=max(one.effort, lowest, key=EFFORTS.index)) for one in pair]
        recipes += pair
    return recipes


def vision_recipes(model: ModelInfo) -> list[Recipe]:
    """Return the recipes of a vision-language model: those of its language model, with the projector in F16."""
    source = {"source": "vision"}
    if model.model_type in vision_families.CONVERTED:
        source["converter"] = "own"
    return [replace(recipe, build={**recipe.build, **source}) for recipe in checkpoint_recipes(model)]


def adapter_recipes(model: ModelInfo) -> list[Recipe]:
    """Return the recipes of a base with an adapter apart: the types alone, also with the base's importance matrix.

    What measures or changes the weights of the whole model (GPTQ, sensitivities, drafts) is not offered.
    """
    plain = [recipe for recipe in checkpoint_recipes(model) if set(recipe.build) <= {"type", "imatrix"}]
    return [
        replace(recipe, build={**recipe.build, "adapter": True}, why=f"{recipe.why}; {_APART}")
        for recipe in plain
    ]


def _expert_variants(plain: Sequence[Recipe]) -> list[Recipe]:
    """Return recipes of mixture-of-experts models with different types for the experts or for all other tensors."""
    by_name = {recipe.name: recipe for recipe in plain}
    return [
        replace(
            by_name[entry["base"]],
            name=f"{entry['base']}+{entry['name']}",
            build={**by_name[entry["base"]].build, "tensor_types": entry["tensor_types"]},
            effort=entry["effort"],
            why=f"{by_name[entry['base']].why}; {entry['why']}",
        )
        for entry in _table("experts")
    ]


def supports_gptq(model: ModelInfo) -> bool:
    """Return True for dense language models: experts see too little of the text for moments of their own."""
    return model.task == "text-generation" and not model.experts and bool(model.layers)


def _refined(entry: Mapping[str, Any], weighted: Recipe) -> Recipe:
    """Return the calibrated recipe with GPTQ's codes."""
    return replace(
        weighted,
        name=f"{entry['name']}+gptq",
        build={**weighted.build, "gptq": True},
        effort=entry["gptq_effort"],
        why=f"{weighted.why}; GPTQ then improves the codes at the same format and size, {entry['gptq']}",
    )


def _mixed(entry: Mapping[str, Any], model: ModelInfo, build: Mapping[str, Any]) -> Recipe:
    """Return a recipe with different types for some tensors, an importance matrix and GPTQ."""
    own = {"type": entry["type"], "tensor_types": entry["tensor_types"], "imatrix": True, "gptq": True}
    return Recipe(
        NAME,
        f"{entry['name']}+gptq",
        {**build, **own},
        effort=entry["effort"],
        calibrated=True,
        why=_why(entry, model),
        bits=entry["bits"],
    )


def _assigned(entry: Mapping[str, Any], refined: bool, build: Mapping[str, Any]) -> Recipe:
    """Return a recipe that assigns types by sensitivity within a budget of bits per weight, with GPTQ if possible."""
    build = {**build, "type": "Q4_K_S", "mix": {"bits": entry["bits"]}, "imatrix": True}
    return Recipe(
        NAME,
        f"mix-{entry['bits']:g}{'+gptq' if refined else '+imatrix'}",
        {**build, "gptq": True} if refined else build,
        effort=entry["effort"],
        calibrated=True,
        why=f"{entry['bits']:g} bits per weight; {entry['why']}",
        bits=entry["bits"],
    )


def _drafted(entry: Mapping[str, Any], recipes: Sequence[Recipe]) -> Recipe:
    """Return a recipe whose artifact has a smaller model that drafts its tokens."""
    base, draft = (next(one for one in recipes if one.name == entry[name]) for name in ("model", "draft"))
    return replace(
        base,
        name=f"{base.name}+draft_{draft.name}",
        build={**base.build, "draft": dict(draft.build)},
        settings={**base.settings, "draft": entry["tokens"]},
        effort=entry["effort"],
        why=f"{base.why}; {entry['why']}",
        bits=(base.bits or 0.0) + (draft.bits or 0.0),
    )


def precision_table() -> dict[str, Any]:
    """Return the types that may be assigned to a tensor."""
    return {"menu": _table("precision")}


def gguf_recipes(model: ModelInfo) -> list[Recipe]:
    """Return the unchanged file, then the types with fewer bits; of a file with few bits those of `lowered`."""
    build: dict[str, Any] = {"source": "gguf"}
    why = "the unchanged GGUF file: exact, verified by the parity check"
    recipes = [Recipe(NAME, "as-is", build, effort="quick", exact=True, why=why, bits=file_bits(model))]
    if low_precision_types(model):
        from edgehone.backends.llamacpp import lowered

        build["requantize"] = True
        recipes += lowered.recipes(model, _table("lower"), has_checkpoint(model))
        return _counted(recipes + _calibrated(model, build), model)
    # Norms and biases are in F32 whatever the type of the matrices.
    types = set(model.dtypes) - _INTEGERS
    bits = max(SOURCE_BITS[name] for name in types - {"F32"} or types or {"F32"})
    if not types <= set(FLOATS):
        build["requantize"] = True
    exact, *smaller = (entry for entry in _table() if entry["bits"] < bits or entry["name"] == EXACT)
    if exact["bits"] < bits:
        cast = {**build, "type": EXACT}
        why = _why(exact, model)
        recipes.append(Recipe(NAME, EXACT, cast, effort="normal", why=why, bits=exact["bits"]))
    recipes += _types(smaller, model, build, has_checkpoint(model))
    if has_checkpoint(model):
        recipes += [_mixed(entry, model, build) for entry in _table("mix")]
    return _counted(recipes + _calibrated(model, build), model)


def _calibrated(model: ModelInfo, build: Mapping[str, Any]) -> list[Recipe]:
    """Return the mixes of types by sensitivity that make a GGUF file smaller."""
    most = (file_bits(model) or 0.0) / _LEAST_GAIN
    return [
        _assigned(entry, True, build)
        for entry in _table("assigned")
        if has_checkpoint(model) and entry["bits"] <= most
    ]


def has_checkpoint(model: ModelInfo) -> bool:
    """Return True if a GGUF file can be run block by block, for GPTQ and sensitivities: see checkpoint.py."""
    return supports_gptq(model) and model.architecture in checkpoint_config.architectures()


def file_bits(model: ModelInfo) -> float | None:
    """Return the bits per weight of a GGUF file; None if it states no parameters."""
    return 8 * model.bytes / model.parameters if model.parameters else None


def low_precision_types(model: ModelInfo) -> list[str]:
    """Return the types in a GGUF file of so few bits that only tensors with more bits are quantized again."""
    return sorted(set(model.dtypes) - set(SOURCE_BITS) - _INTEGERS)


def encoder_recipes(model: ModelInfo) -> list[Recipe]:
    """Return F32, F16 and the quantized types, without importance matrices, since llama-imatrix supports text only."""
    build, settings = {"source": "encoder"}, {"positions": model.model_type}
    why = "32 bits per weight: exact hidden states, verified by the parity check"
    recipes = [Recipe(NAME, "F32", {**build, "type": "F32"}, settings, effort="quick", exact=True, why=why)]
    for entry in _table():
        if entry.get("imatrix_only"):
            continue
        plain = {**build, "type": entry["name"]}
        why = _why(entry, model)
        recipes.append(
            Recipe(NAME, entry["name"], plain, settings, effort=entry["effort"], why=why, bits=entry["bits"])
        )
    return recipes


def tunable_settings(recipe: Recipe, device: Device, context: int) -> list[TunableSetting]:
    """Return the settings to search for an artifact of a recipe."""
    kinds: dict[Any, Kind] = {"encoder": "graph", "vision": "vision"}
    return settings_from_table(
        _table("tuning"), device, kinds.get(recipe.build.get("source"), "language"), context
    )


def _table(name: str = "type") -> list[dict[str, Any]]:
    path = Path(__file__).with_name("recipes.toml")
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text("utf-8"))[name]
    return entries


def _why(entry: Mapping[str, Any], model: ModelInfo) -> str:
    return f"{entry['bits']:g} bits per weight; {entry['why']}{_fallback(entry, model)}"


def _pair(entry: Mapping[str, Any], build: Mapping[str, Any], why: str) -> list[Recipe]:
    """Return a recipe with an importance matrix, and the same without unless the type needs one."""
    build = {**build, "type": entry["name"]}
    plain = Recipe(NAME, entry["name"], build, effort=entry["effort"], why=why, bits=entry["bits"])
    weighted = replace(
        plain,
        name=f"{plain.name}+imatrix",
        build={**plain.build, "imatrix": True},
        effort=entry["imatrix_effort"],
        calibrated=True,
        why=f"{why}; rounding errors weighted by the activations on the calibration text",
    )
    return [weighted] if entry.get("imatrix_only") else [weighted, plain]


def _fallback(entry: Mapping[str, Any], model: ModelInfo) -> str:
    heads = (model.heads or 0) * (model.head_dim or 0)
    rows = {size for size in (model.hidden_size, model.intermediate_size, heads) if size}
    odd = sorted(size for size in rows if size % entry["block"])
    if not odd:
        return ""
    # Rows that are not a multiple of 32 either have no quantized type.
    types = sorted({entry.get("fallback", "F16") if size % 32 == 0 else "F16" for size in odd})
    listed = ", ".join(map(str, odd))
    return f"; rows of {listed} are not divisible by {entry['block']} and become {' or '.join(types)}"
