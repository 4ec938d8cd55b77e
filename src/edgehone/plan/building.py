"""Predict the time, memory and disk space of builds on this machine, before anything is built.

Build times come from roofline.toml, corrected by the builds that this machine has timed, or from those alone if
roofline.toml has no entry for the backend. Builds that do not fit are refused with what would fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgehone.backends.base import Recipe
from edgehone.core.figure import Figure
from edgehone.model.info import ModelInfo
from edgehone.plan import roofline, roofline_data


@dataclass(frozen=True)
class Build:
    """A build timed on this machine."""

    backend: str
    calibrated: bool
    parameters: int
    seconds: float


def seconds(recipe: Recipe, parameters: int, history: Sequence[Build]) -> Figure:
    """Predict the build time in seconds: a fixed part plus a part per billion parameters.

    The constants are those of roofline.toml, corrected by `history`. Returns a missing figure, with the reason, if
    neither covers the backend.
    """
    table = roofline_data.table()["building"]
    known = table["seconds"].get(recipe.backend)
    kind = "calibrated" if recipe.calibrated else "plain"
    if known is None or kind not in known:
        alike = [
            one
            for one in history
            if (one.backend, one.calibrated) == (recipe.backend, recipe.calibrated) and one.parameters > 0
        ]
        if not parameters:
            return Figure.missing("build times are scaled by the parameters, and the model has none", "s")
        if not alike:
            return Figure.missing(f"no {kind} build of {recipe.backend} has been timed yet", "s")
        nearest = min(alike, key=lambda one: abs(math.log(parameters / one.parameters)))
        # The time grows between not at all and in proportion to the parameters: take the geometric mean.
        factor = max(
            table["history_error"],
            math.sqrt(max(parameters / nearest.parameters, nearest.parameters / parameters)),
        )
        return Figure.prediction(nearest.seconds * math.sqrt(parameters / nearest.parameters), factor, "s")

    def by_table(size: int) -> float:
        return float(known[kind][0] + known[kind][1] * size / 1e9)

    log_ratios = [
        math.log(one.seconds / by_table(one.parameters))
        for one in history
        if (one.backend, one.calibrated) == (recipe.backend, recipe.calibrated) and one.seconds > 0
    ]
    if not log_ratios:
        return Figure.prediction(by_table(parameters), table["error"], "s")
    mean = sum(log_ratios) / len(log_ratios)
    deviation = max(abs(ratio - mean) for ratio in log_ratios)
    return Figure.prediction(
        by_table(parameters) * math.exp(mean), max(table["history_error"], math.exp(deviation)), "s"
    )


@dataclass(frozen=True)
class Resources:
    """Bytes of memory and disk that building all recipes of a plan takes. `by_backend`: the bytes of disk."""

    memory: int
    disk: int
    by_backend: Mapping[str, int]


def resources(model: ModelInfo, recipes: Sequence[Recipe]) -> Resources:
    """Estimate what building the recipes takes.

    Memory: the original in float32 and copies of it (roofline.toml). Disk: for each backend a 16-bit copy of the
    original, and every artifact.
    """
    parameters = model.parameters or 0
    disk: dict[str, int] = {}
    for recipe in recipes:
        size = roofline.predicted_bytes(recipe, model)
        disk.setdefault(recipe.backend, 2 * parameters)
        disk[recipe.backend] += int(size.high or 2 * parameters)
    return Resources(
        round(roofline_data.table()["building"]["copies"] * 4 * parameters), sum(disk.values()), disk
    )


def obstacles(needed: Resources, free_memory: int | None, free_disk: int | None) -> list[str]:
    """Return why this machine cannot build, with what would fit, or an empty list."""
    problems = []
    if free_memory is not None and needed.memory > free_memory:
        fits = free_memory / (4 * roofline_data.table()["building"]["copies"])
        problems.append(
            f"building needs {_gb(needed.memory)} of memory, but only {_gb(free_memory)} are free, enough for a model "
            f"of {fits / 1e9:.2g} billion parameters: build on a machine with more memory, or use a model that is "
            "already converted (GGUF)"
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
