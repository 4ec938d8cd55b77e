"""Predict the time, memory and disk space of builds on this machine, before anything is built.

Build times come from roofline.toml, corrected by the builds that this machine has timed, or from those alone if
roofline.toml has no entry for the backend. Builds that do not fit are refused with what would fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.core.figure import Figure
from edgehone.model.info import ModelInfo
from edgehone.plan import roofline, roofline_data


@dataclass(frozen=True)
class Build:
    """A build timed on this machine. `rounding`: what weights were rounded to (`rounded_to`), None if not known."""

    backend: str
    calibrated: bool
    parameters: int
    seconds: float
    rounding: str | None = None


@dataclass(frozen=True)
class Processors:
    """What builds on this machine have: the float32 rate of all threads in GFLOP/s, and their number."""

    rate: Figure
    threads: int


def seconds(recipe: Recipe, model: ModelInfo, here: Processors, history: Sequence[Build]) -> Figure:
    """Predict the build time in seconds: a conversion, the rounding of the weights, and the calibration.

    The constants are those of roofline.toml, corrected by `history`. A conversion has a fixed part and a part per
    billion parameters. Rounding takes the processor seconds of its type, shared by the threads. The calibration takes
    `Recipe.operations` at a share of this machine's float32 rate. Returns a missing figure, with the reason, if neither
    covers the recipe.
    """
    kind = (recipe.backend, recipe.calibrated)
    alike = [one for one in history if (one.backend, one.calibrated) == kind and one.seconds > 0]
    if not _is_known(recipe, here.rate):
        return _like_others(recipe, model.parameters, alike)

    table = roofline_data.table()["building"]
    rounding = None if recipe.exact else rounded_to(recipe.build)
    predicted = _converted_and_rounded(recipe.backend, rounding, recipe.exact, model.parameters, here.threads)
    if recipe.operations:
        # The arithmetic of an earlier calibrated build is not known here, so those correct plain builds only.
        assert here.rate.value is not None
        predicted += recipe.operations / (table["share"][recipe.backend] * here.rate.value * 1e9)
        return Figure.prediction(predicted, table["work_error"], "s")
    ratios = [
        math.log(
            one.seconds
            / _converted_and_rounded(one.backend, one.rounding, recipe.exact, one.parameters, here.threads)
        )
        for one in alike
    ]
    if not ratios:
        return Figure.prediction(predicted, table["error"], "s")
    mean = sum(ratios) / len(ratios)
    deviation = max(abs(ratio - mean) for ratio in ratios)
    return Figure.prediction(
        predicted * math.exp(mean), max(table["history_error"], math.exp(deviation)), "s"
    )


def rounded_to(build: Mapping[str, Any]) -> str | None:
    """Return what a recipe's build rounds weights to, by the names of [building.rounding] in roofline.toml.

    These are the type or mode, with "+imatrix" where an importance matrix weights the errors: "Q4_0+imatrix",
    "int4_sym". None if the build names neither.
    """
    kind: str | None = build.get("type", build.get("mode"))
    return f"{kind}+imatrix" if kind and build.get("imatrix") else kind


def _is_known(recipe: Recipe, rate: Figure) -> bool:
    """Return True if roofline.toml covers the build: the conversion, and the calibration if there is one."""
    table = roofline_data.table()["building"]
    counted = recipe.operations and recipe.backend in table["share"] and rate.value
    return recipe.backend in table["seconds"] and bool(counted or not recipe.calibrated)


def _converted_and_rounded(
    backend: str, rounding: str | None, exact: bool, parameters: int, threads: int
) -> float:
    """Return the seconds of a conversion with the rounding of its weights, by the shipped constants."""
    table = roofline_data.table()["building"]
    known, billions = table["seconds"][backend], parameters / 1e9
    each = table["rounding"].get(backend, {}).get(rounding)
    fixed, per_billion = known["exact" if "exact" in known and (exact or each is not None) else "plain"]
    return float(fixed + per_billion * billions + (each or 0.0) * billions / max(threads, 1))


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


def memory(recipe: Recipe, model: ModelInfo) -> int:
    """Estimate the peak bytes of memory of a build that the system cannot free at will.

    A build that reads the model block by block holds two blocks in float32, the moments of a block's inputs in six
    copies if it is calibrated by arithmetic of ours (`operations`), and one matrix of the vocabulary. Others hold
    copies of the whole model in float32 (roofline.toml).
    """
    table = roofline_data.table()["building"]["memory"]
    known = table.get(recipe.backend, table["other"])
    parameters, hidden = model.parameters or 0, model.hidden_size or 0
    if not known["streams"] or not model.layers or not hidden or model.experts:
        copies = known.get("calibrated", known["copies"]) if recipe.calibrated else known["copies"]
        return int(known["fixed"] + copies * 4 * parameters)
    vocabulary = hidden * (model.vocabulary or 0)
    blocks = max(parameters - vocabulary, 0) / model.layers
    widest = max(hidden, model.intermediate_size or 0)
    calibrating = 2 * blocks + 6 * widest**2 if recipe.operations else 0.0
    return int(known["fixed"] + 4 * max(calibrating, vocabulary * known["copies"]))


@dataclass(frozen=True)
class Resources:
    """Bytes of memory and disk that building all recipes of a plan takes. `by_backend`: the bytes of disk."""

    memory: int
    disk: int
    by_backend: Mapping[str, int]


def resources(model: ModelInfo, recipes: Sequence[Recipe]) -> Resources:
    """Estimate what building the recipes takes.

    Memory: that of the build that takes most. Disk: for each backend a 16-bit copy of the original, and every artifact.
    """
    parameters = model.parameters or 0
    disk: dict[str, int] = {}
    for recipe in recipes:
        size = roofline.predicted_bytes(recipe, model)
        disk.setdefault(recipe.backend, 2 * parameters)
        disk[recipe.backend] += int(size.high or 2 * parameters)
    most = max((memory(recipe, model) for recipe in recipes), default=0)
    return Resources(most, sum(disk.values()), disk)


def obstacles(needed: Resources, free_memory: int | None, free_disk: int | None) -> list[str]:
    """Return why this machine cannot build, with what would fit, or an empty list."""
    problems = []
    if free_memory is not None and needed.memory > free_memory:
        problems.append(
            f"building needs {_gb(needed.memory)} of memory, but only {_gb(free_memory)} are free: build on a machine "
            f"with more memory, give --memory {max(free_memory // 10**6, 1)}MB to leave out what needs more, or use a "
            "model that is already converted (GGUF)"
        )
    if free_disk is not None and needed.disk > free_disk:
        fitting = _fitting(needed.by_backend, free_disk)
        option = f"--backends {','.join(fitting)} would fit" if fitting else "no single backend would fit"
        problems.append(
            f"building needs {_gb(needed.disk)} of disk space, but only {_gb(free_disk)} are free: {option}; or set "
            "EDGEHONE_HOME to a folder on another disk"
        )
    return problems


def _fitting(disk: Mapping[str, int], free: int) -> list[str]:
    """Return as many backends, in order, as fit together."""
    fitting, remaining = [], free
    for backend, size in disk.items():
        if size <= remaining:
            fitting.append(backend)
            remaining -= size
    return fitting


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
