"""The recipes of the llamacpp backend: llamacpp_recipes.toml, cut to what a model's own precision leaves to gain."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgehone.backends.base import EFFORTS, Recipe, TunableSetting
from edgehone.backends.shared.tunable_settings import Kind, listed
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

NAME = "llamacpp"
EXACT = "F16"
# What a GGUF file holds its matrices in, with their bits a weight, if another type can sensibly be made of it.
SOURCES = {"F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5}
_INTEGERS = {"I8", "I16", "I32", "I64"}
# Types that llama-quantize makes of floats without asking; from others it must be told to.
FLOATS = ("F32", "F16", "BF16")
# What GPTQ may hold, in memory and on disk, of the moments of all layers' inputs.
MOMENTS_BYTES = 4 << 30


def of_checkpoint(model: ModelInfo) -> list[Recipe]:
    """F16, then each quantized type with and without an importance matrix, in order of promise."""
    refined = refinable(model)
    made = []
    for entry in _table():
        why = _why(entry, model)
        if entry["name"] == EXACT:
            build = {"type": EXACT}
            made.append(
                Recipe(NAME, EXACT, build, effort=entry["effort"], exact=True, why=why, bits=entry["bits"])
            )
            continue
        pair = _pair(entry, {}, why)
        if refined and "gptq_effort" in entry:
            # What is better at the same bytes takes their place in a run that tries few.
            made.append(_refined(entry, pair[0]))
            pair = [replace(one, effort=max(one.effort, entry["beside"], key=EFFORTS.index)) for one in pair]
        made += pair
    made += [_mixed(entry, model) for entry in _table("mix")] if refined else []
    if model.task == "text-generation" and not model.experts:  # of others not every weight is measured
        made += [_assigned(entry, refined) for entry in _table("assigned")]
    return made + (_mixtures(made) if model.experts else [])


def seeing(made: Sequence[Recipe]) -> list[Recipe]:
    """The same of a model that sees: its projector stands beside it, in F16."""
    return [replace(recipe, build={**recipe.build, "source": "vision"}) for recipe in made]


def _mixtures(made: Sequence[Recipe]) -> list[Recipe]:
    """Types of their own for the experts of a mixture, or for all but them."""
    by_name = {recipe.name: recipe for recipe in made}
    return [
        replace(
            by_name[entry["base"]],
            name=f"{entry['base']}+{entry['name']}",
            build={**by_name[entry["base"]].build, "tensor_types": entry["tensor_types"]},
            effort=entry["effort"],
            why=f"{by_name[entry['base']].why}; {entry['why']}",
        )
        for entry in _table("mixture")
    ]


def refinable(model: ModelInfo) -> bool:
    """Whether GPTQ can be tried: a language model of linear layers whose inputs' moments can be held."""
    hidden, wide = model.hidden_size or 0, model.intermediate_size or 0
    moments = 4 * (model.layers or 0) * (3 * hidden**2 + wide**2)
    return model.task == "text-generation" and not model.experts and 0 < moments <= MOMENTS_BYTES


def _refined(entry: Mapping[str, Any], weighted: Recipe) -> Recipe:
    """The calibrated recipe with GPTQ's codes."""
    return replace(
        weighted,
        name=f"{entry['name']}+gptq",
        build={**weighted.build, "gptq": True},
        effort=entry["gptq_effort"],
        why=f"{weighted.why}; then codes by GPTQ in the same format and bytes, {entry['gptq']}",
    )


def _mixed(entry: Mapping[str, Any], model: ModelInfo) -> Recipe:
    """A type with other types for some tensors, an importance matrix and GPTQ's codes."""
    build = {"type": entry["type"], "tensor_types": entry["tensor_types"], "imatrix": True, "gptq": True}
    return Recipe(
        NAME,
        f"{entry['name']}+gptq",
        build,
        effort=entry["effort"],
        calibrated=True,
        why=_why(entry, model),
        bits=entry["bits"],
    )


def _assigned(entry: Mapping[str, Any], refined: bool) -> Recipe:
    """A type for each tensor by what its rounding costs, within so many bits a weight; codes by GPTQ if they can be."""
    build = {"type": "Q4_K_S", "mix": {"bits": entry["bits"]}, "imatrix": True}
    return Recipe(
        NAME,
        f"mix-{entry['bits']:g}{'+gptq' if refined else '+imatrix'}",
        {**build, "gptq": True} if refined else build,
        effort=entry["effort"],
        calibrated=True,
        why=f"{entry['bits']:g} bits a weight; {entry['why']}",
        bits=entry["bits"],
    )


def menu() -> dict[str, Any]:
    """The precisions that an assignment may give."""
    return {"menu": _table("precision")}


def of_gguf(model: ModelInfo) -> list[Recipe]:
    """The file as it is, then the types of fewer bits than it has; none where it is quantized too far."""
    build: dict[str, Any] = {"source": "gguf"}
    why = "the GGUF file as it is: exact, judged by the null test"
    made = [Recipe(NAME, "as-is", build, effort="quick", exact=True, why=why)]
    if coarse(model):
        return made
    # Norms and biases stay in F32 in files of every type.
    held = set(model.dtypes) - _INTEGERS
    bits = max(SOURCES[name] for name in held - {"F32"} or held or {"F32"})
    if not held <= set(FLOATS):
        build = {**build, "requantize": True}
    for entry in _table():
        if entry["bits"] >= bits:
            continue
        if entry["name"] == EXACT:
            cast = {**build, "type": EXACT}
            made.append(
                Recipe(NAME, EXACT, cast, effort="normal", why=_why(entry, model), bits=entry["bits"])
            )
        else:
            made += _pair(entry, build, _why(entry, model))
    return made


def coarse(model: ModelInfo) -> list[str]:
    """The types in a GGUF file that nothing better than itself can be made of."""
    return sorted(set(model.dtypes) - set(SOURCES) - _INTEGERS)


def of_encoder(model: ModelInfo) -> list[Recipe]:
    """F32, then F16 and the quantized types; no importance matrices, which llama.cpp gathers from text only."""
    build, settings = {"source": "encoder"}, {"positions": model.model_type}
    why = "32 bits a weight; the hidden states as they are, judged by the null test"
    made = [Recipe(NAME, "F32", {**build, "type": "F32"}, settings, effort="quick", exact=True, why=why)]
    for entry in _table():
        plain = {**build, "type": entry["name"]}
        why = _why(entry, model)
        made.append(
            Recipe(NAME, entry["name"], plain, settings, effort=entry["effort"], why=why, bits=entry["bits"])
        )
    return made


def tunable_settings(recipe: Recipe, device: Device, context: int) -> list[TunableSetting]:
    """The settings that may be searched for an artifact of a recipe."""
    kinds: dict[Any, Kind] = {"encoder": "graph", "vision": "vision"}
    return listed(_table("tuning"), device, kinds.get(recipe.build.get("source"), "language"), context)


def _table(name: str = "type") -> list[dict[str, Any]]:
    path = Path(__file__).with_name("recipes.toml")
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text("utf-8"))[name]
    return entries


def _why(entry: Mapping[str, Any], model: ModelInfo) -> str:
    return f"{entry['bits']:g} bits a weight; {entry['why']}{_fallback(entry, model)}"


def _pair(entry: Mapping[str, Any], build: Mapping[str, Any], why: str) -> list[Recipe]:
    """A type with an importance matrix, and without."""
    build = {**build, "type": entry["name"]}
    plain = Recipe(NAME, entry["name"], build, effort=entry["effort"], why=why, bits=entry["bits"])
    weighted = replace(
        plain,
        name=f"{plain.name}+imatrix",
        build={**plain.build, "imatrix": True},
        effort=entry["imatrix_effort"],
        calibrated=True,
        why=f"{why}; error weighted by the activations on the calibration text",
    )
    return [weighted, plain]


def _fallback(entry: Mapping[str, Any], model: ModelInfo) -> str:
    heads = (model.heads or 0) * (model.head_dim or 0)
    rows = {size for size in (model.hidden_size, model.intermediate_size, heads) if size}
    odd = sorted(size for size in rows if size % entry["block"])
    if not odd:
        return ""
    # Rows that 32 does not divide either have no quantized type at all.
    types = sorted({entry.get("fallback", "F16") if size % 32 == 0 else "F16" for size in odd})
    listed = ", ".join(map(str, odd))
    return f"; rows of {listed} do not divide by {entry['block']} and become {' or '.join(types)}"
