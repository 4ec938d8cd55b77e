"""What building takes on the machine that builds: seconds, memory and disk, predicted before anything is built.

Seconds are those that this machine's history tells of the backend's builds, plain or calibrated, scaled by parameters;
without a history those of roofline.toml. What would not fit is refused, with what would.
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
    """A build that was timed on this machine."""

    backend: str
    calibrated: bool
    parameters: int
    seconds: float


def seconds(recipe: Recipe, parameters: int, history: Sequence[Build]) -> Figure:
    """How long building takes: fixed + each billion of parameters, by roofline.toml, corrected by the history.

    Missing, with the reason, where neither tells of the backend.
    """
    table = roofline_data.table()["building"]
    known = table["seconds"].get(recipe.backend)
    kind = "calibrated" if recipe.calibrated else "plain"
    if known is None or kind not in known:
        alike = [
            one for one in history if (one.backend, one.calibrated) == (recipe.backend, recipe.calibrated)
        ]
        if not alike:
            return Figure.missing(f"no {kind} build of {recipe.backend} was timed yet", "s")
        nearest = min(alike, key=lambda one: abs(math.log(parameters / one.parameters)))
        # Between taking no longer and taking longer in proportion.
        factor = max(
            table["history_error"],
            math.sqrt(max(parameters / nearest.parameters, nearest.parameters / parameters)),
        )
        return Figure.prediction(nearest.seconds * math.sqrt(parameters / nearest.parameters), factor, "s")

    def by_table(size: int) -> float:
        return float(known[kind][0] + known[kind][1] * size / 1e9)

    told = [
        math.log(one.seconds / by_table(one.parameters))
        for one in history
        if (one.backend, one.calibrated) == (recipe.backend, recipe.calibrated) and one.seconds > 0
    ]
    if not told:
        return Figure.prediction(by_table(parameters), table["error"], "s")
    mean = sum(told) / len(told)
    far = max(abs(one - mean) for one in told)
    return Figure.prediction(
        by_table(parameters) * math.exp(mean), max(table["history_error"], math.exp(far)), "s"
    )


@dataclass(frozen=True)
class Need:
    """Bytes of memory and of disk that building all recipes of a plan takes; the disk's by backend too."""

    memory: int
    disk: int
    by_backend: Mapping[str, int]


def need(model: ModelInfo, recipes: Sequence[Recipe]) -> Need:
    """The original in float32 and a copy beside it in memory; on disk the original's copy in 16 bits for each backend,
    and every artifact."""
    parameters = model.parameters or 0
    disk: dict[str, int] = {}
    for recipe in recipes:
        size = roofline.predicted_bytes(recipe, model)
        disk.setdefault(recipe.backend, 2 * parameters)
        disk[recipe.backend] += int(size.high or 2 * parameters)
    return Need(round(roofline_data.table()["building"]["copies"] * 4 * parameters), sum(disk.values()), disk)


def obstacles(needed: Need, free_memory: int | None, free_disk: int | None) -> list[str]:
    """Why this machine cannot build, and what would fit."""
    found = []
    if free_memory is not None and needed.memory > free_memory:
        fits = free_memory / (4 * roofline_data.table()["building"]["copies"])
        found.append(
            f"building needs {_gb(needed.memory)} of memory, {_gb(free_memory)} are free, which do for a model of "
            f"{fits / 1e9:.2g} billion parameters: build on a machine with more, or give a model that is converted "
            "already (GGUF)"
        )
    if free_disk is not None and needed.disk > free_disk:
        fitting = _fitting(needed.by_backend, free_disk)
        way = f"--backends {','.join(fitting)} would fit" if fitting else "no backend alone would fit"
        found.append(
            f"building needs {_gb(needed.disk)} of disk, {_gb(free_disk)} are free: {way}; or set EDGEHONE_HOME to a "
            "folder on another disk"
        )
    return found


def _fitting(disk: Mapping[str, int], free: int) -> list[str]:
    """As many backends, in their order, as fit together."""
    taken, left = [], free
    for backend, size in disk.items():
        if size <= left:
            taken.append(backend)
            left -= size
    return taken


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
