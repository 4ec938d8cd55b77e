"""Predict the seconds of builds on this machine, before anything is built.

A build is charged for what its steps do: the conversion of the original, the quantization, and the arithmetic of its
calibration. A GGUF file is taken as it is, but for the checkpoint that is written where its blocks are run one by one.
The constants are those of roofline.toml, corrected by the builds that this machine has timed; builds without constants
are predicted from the timed ones alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.core.figure import Figure
from edgehone.formats.gguf import type_named
from edgehone.model.info import ModelInfo
from edgehone.plan import roofline_data

CONVERSION = "conversion"
CHECKPOINT = "checkpoint"
# Parts of a build that other recipes of its backend share: they run once in a run. So do equal quantizations, from
# which GPTQ and drafts start; their names begin with QUANTIZATION.
SHARED = (CONVERSION, CHECKPOINT, "imatrix", "sensitivity")
QUANTIZATION = "quantization"
_KEPT = ("F32", "I32")


@dataclass(frozen=True)
class Build:
    """A build timed on this machine.

    `rounding`: what weights were rounded to (`rounded_to`), None if not known. `converted`: the original was converted.
    """

    backend: str
    calibrated: bool
    parameters: int
    seconds: float
    rounding: str | None = None
    converted: bool = True


@dataclass(frozen=True)
class Processors:
    """What builds on this machine have: the float32 rate of all threads in GFLOP/s, and their number."""

    rate: Figure
    threads: int


@dataclass(frozen=True)
class BuildTime:
    """The predicted seconds of a build: `whole`, and its parts that others may share (`SHARED`, `quantized`)."""

    whole: Figure
    shared: Mapping[str, Figure] = field(default_factory=dict)


def predict(recipe: Recipe, model: ModelInfo, here: Processors, history: Sequence[Build]) -> BuildTime:
    """Predict the seconds of a build and of its shared parts.

    A conversion has a fixed part and a part per billion parameters, and so has reading and writing a file that is
    quantized. Rounding takes the processor seconds of its type, shared by the threads. The calibration takes
    `Recipe.operations` at a share of this machine's float32 rate. The whole is a missing figure, with the reason, if
    neither the constants nor `history` cover the recipe.
    """
    kind = (recipe.backend, recipe.calibrated)
    alike = [one for one in history if (one.backend, one.calibrated) == kind and one.seconds > 0]
    if not _is_known(recipe, here.rate):
        return BuildTime(_like_others(recipe, model.parameters, alike))

    table = roofline_data.table()["building"]
    conversion = _conversion(recipe.backend, model.parameters) if converts(recipe.build) else 0.0
    plain = {CONVERSION: conversion, **_quantization(recipe, model, here.threads)}
    if recipe.operations:
        # The arithmetic of an earlier calibrated build is not known here, so those correct plain builds only.
        assert here.rate.value is not None
        rate = table["share"][recipe.backend] * here.rate.value * 1e9
        start = table["start"]
        parts = {name: count / rate + start.get(name, 0.0) for name, count in recipe.operations.items()}
        parts[CHECKPOINT] = _checkpoint(recipe, model.parameters)
        return _of_parts({**plain, **parts}, table["work_error"])
    ratios = [
        math.log(one.seconds / predicted) for one in alike if (predicted := _of_timed(one, here.threads)) > 0
    ]
    if not ratios:
        return _of_parts(plain, table["error"])
    mean = sum(ratios) / len(ratios)
    deviation = max(abs(ratio - mean) for ratio in ratios)
    error = max(table["history_error"], math.exp(deviation))
    return _of_parts({name: each * math.exp(mean) for name, each in plain.items()}, error)


def converts(build: Mapping[str, Any]) -> bool:
    """Return whether a recipe's build converts the original; a GGUF file is linked, and quantized from as it is."""
    return build.get("source") != "gguf"


def needs_checkpoint(build: Mapping[str, Any]) -> bool:
    """Return whether a recipe's build runs a GGUF file block by block, for which its checkpoint is written."""
    return not converts(build) and ("gptq" in build or "mix" in build)


def rounded_to(build: Mapping[str, Any]) -> str | None:
    """Return what a recipe's build rounds weights to, by the names of [building.rounding] in roofline.toml.

    These are the type or mode, with "+imatrix" where an importance matrix weights the errors: "Q4_0+imatrix",
    "int4_sym". None if the build names neither.
    """
    kind: str | None = build.get("type", build.get("mode"))
    return f"{kind}+imatrix" if kind and build.get("imatrix") else kind


def quantized(recipe: Recipe) -> dict[str, Mapping[str, Any]]:
    """Return what a recipe quantizes, its model and a draft if it has one, by names that equal quantizations share."""
    builds = [recipe.build, recipe.build["draft"]] if "draft" in recipe.build else [recipe.build]
    afterwards = roofline_data.table()["building"]["afterwards"].get(recipe.backend, ())
    plain = [{key: value for key, value in one.items() if key not in afterwards} for one in builds]
    return {f"{QUANTIZATION} {json.dumps(one, sort_keys=True)}": one for one in plain if not recipe.exact}


def is_quantized_only(recipe: Recipe) -> bool:
    """Return whether nothing is made of the quantized file afterwards: it is the artifact."""
    afterwards = roofline_data.table()["building"]["afterwards"].get(recipe.backend, ())
    return not any(recipe.build.get(name) for name in afterwards)


def _of_parts(parts: Mapping[str, float], error: float) -> BuildTime:
    shared = {
        name: Figure.prediction(each, error, "s")
        for name, each in parts.items()
        if each and (name in SHARED or name.startswith(QUANTIZATION))
    }
    return BuildTime(Figure.prediction(sum(parts.values()), error, "s"), shared)


def _is_known(recipe: Recipe, rate: Figure) -> bool:
    """Return True if roofline.toml covers the build: the conversion, and the calibration if there is one."""
    table = roofline_data.table()["building"]
    counted = bool(recipe.operations) and all(recipe.operations.values()) and rate.value
    counted = counted and recipe.backend in table["share"]
    return recipe.backend in table["seconds"] and bool(counted or not recipe.calibrated)


def _conversion(backend: str, parameters: int) -> float:
    fixed, per_billion = roofline_data.table()["building"]["seconds"][backend]["conversion"]
    return float(fixed + per_billion * parameters / 1e9)


def _checkpoint(recipe: Recipe, parameters: int) -> float:
    """Return the seconds in which a GGUF file's checkpoint is written and compared with the file."""
    if not needs_checkpoint(recipe.build):
        return 0.0
    fixed, per_billion = roofline_data.table()["building"]["seconds"][recipe.backend]["checkpoint"]
    return float(fixed + per_billion * parameters / 1e9)


def _quantization(recipe: Recipe, model: ModelInfo, threads: int) -> dict[str, float]:
    """Return the seconds of each file that a recipe quantizes, or joins, by their names."""
    if recipe.exact:
        # The files of a split original are joined.
        joined = not converts(recipe.build) and len(model.files) > 1
        return {"join": _rewriting(recipe.backend, model.parameters)} if joined else {}
    return {
        name: _rewriting(recipe.backend, model.parameters)
        + sum(
            _rounding(recipe.backend, kind, weights, threads)
            for kind, weights in _rounded(recipe.backend, build, model)
        )
        for name, build in quantized(recipe).items()
    }


def _rounded(backend: str, build: Mapping[str, Any], model: ModelInfo) -> Iterator[tuple[str | None, int]]:
    """Yield the types that a build rounds to, each with the number of weights that it rounds."""
    if "mix" in build:
        yield _mixed(backend, build, model), model.parameters
        return
    if "lower" not in build:
        yield rounded_to(build), model.parameters
        return
    lower = build["lower"]
    tensor = next((one for one in model.large_tensors if one.name == lower.get("tensor")), None)
    row = tensor.row if tensor else model.hidden_size or 0
    kind = next((one for one in lower["types"] if row % one["block"] == 0), lower["types"][0])
    # Norms and tables of positions stay as they are.
    matrices = {name: count for name, count in model.dtypes.items() if name not in _KEPT}
    above = sum(count for name, count in matrices.items() if _bits(name) > kind["bits"])
    name = rounded_to({"type": kind["type"].upper(), "imatrix": build.get("imatrix")})
    yield name, above if tensor is None else tensor.elements


def _mixed(backend: str, build: Mapping[str, Any], model: ModelInfo) -> str | None:
    """Return the type whose time stands for an assigned mix. One of few bits has types that take longer."""
    slow = roofline_data.table()["building"]["slow_mixes"].get(backend)
    mix = build["mix"]
    bits = mix["bits"] if "bits" in mix else 8 * mix["bytes"] / max(model.parameters, 1)
    if slow and bits < slow["below"] and model.parameters <= slow["most"]:
        return rounded_to({**build, "type": slow["alike"]})
    return rounded_to(build)


def _bits(name: str) -> float:
    kind = type_named(name)
    return 8 * kind.bytes / kind.block


def _of_timed(one: Build, threads: int) -> float:
    """Return the seconds of a timed build by the shipped constants."""
    conversion = _conversion(one.backend, one.parameters) if one.converted else 0.0
    if one.converted and one.rounding in roofline_data.table()["building"]["floats"]:
        return conversion
    rounding = _rounding(one.backend, one.rounding, one.parameters, threads)
    return conversion + _rewriting(one.backend, one.parameters) + rounding


def _rewriting(backend: str, parameters: int) -> float:
    """Return the seconds in which a converted model is read and its quantized weights are written."""
    fixed, per_billion = roofline_data.table()["building"]["seconds"][backend].get("rewriting", (0.0, 0.0))
    return float(fixed + per_billion * parameters / 1e9)


def _rounding(backend: str, kind: str | None, weights: int, threads: int) -> float:
    table = roofline_data.table()["building"]
    known = table["rounding"][backend]
    name, *weighted = (kind or "").split("+")
    alike = "+".join([table["alike"].get(name, name), *weighted])
    each = 0.0 if kind in table["floats"] else known.get(alike, known["other"])
    return float(each * weights / 1e9 / max(threads, 1))


def _like_others(recipe: Recipe, parameters: int, alike: Sequence[Build]) -> Figure:
    """Scale the nearest build of this kind: between a quarter of and all in proportion to the parameters."""
    kind = "calibrated" if recipe.calibrated else "plain"
    if not parameters:
        return Figure.missing("build times are scaled by the parameters, and the model has none", "s")
    alike = [one for one in alike if one.parameters > 0]
    if not alike:
        return Figure.missing(f"no {kind} build of {recipe.backend} has been timed yet", "s")
    nearest = min(alike, key=lambda one: abs(math.log(parameters / one.parameters)))
    ratio = parameters / nearest.parameters
    # A part of a build's time is fixed, so it grows less than the parameters do; how much is not known.
    share = roofline_data.table()["building"]["fixed_share"]
    span = min(max(ratio, 1 / ratio), 1 / share)
    middle = ratio / math.sqrt(span) if ratio > 1 else ratio * math.sqrt(span)
    factor = max(roofline_data.table()["building"]["history_error"], math.sqrt(span))
    return Figure.prediction(nearest.seconds * middle, factor, "s")
