"""What a run would try, in which order and why, and what is to be expected of it: nothing is built.

Frameworks come in the matrix's order, recipes in each backend's order of promise. Every expectation is a prediction
that says so (`roofline`); what would not fit the machine that builds is refused, with what would.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Backend, Effort, Recipe
from edgehone.figure import Figure
from edgehone.model.info import ModelInfo
from edgehone.plan import roofline
from edgehone.plan.matrix import Ranked, rank
from edgehone.plan.plan import Plan, plan
from edgehone.plan.target import Target

if TYPE_CHECKING:
    from edgehone.measure.workload import Workload


@dataclass(frozen=True)
class Expected:
    """A recipe and what is predicted of it; `obstacle` is why it cannot be used on the target, None where it can."""

    recipe: Recipe
    bytes: Figure
    memory: Figure
    decode: Figure
    obstacle: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        figures = {name: getattr(self, name).to_json() for name in ("bytes", "memory", "decode")}
        return {"key": self.recipe.key, "why": self.recipe.why, **figures, "obstacle": self.obstacle}


@dataclass(frozen=True)
class Advice:
    """One piece of advice that applies here, and its source."""

    says: str
    source: str


@dataclass(frozen=True)
class Recommendation:
    """The frameworks in order, the recipes with what is expected, and what building needs (bytes)."""

    ranked: tuple[Ranked, ...]
    expected: tuple[Expected, ...]
    refused: Mapping[str, str]
    advice: tuple[Advice, ...]
    build_memory: int
    build_disk: int
    obstacles: tuple[str, ...]  # why this machine cannot build them, and what would do

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {
            "frameworks": [asdict(one) for one in self.ranked],
            "recipes": [one.to_json() for one in self.expected],
            "refused": dict(self.refused),
            "advice": [asdict(one) for one in self.advice],
            "build": {"memory_bytes": self.build_memory, "disk_bytes": self.build_disk},
            "obstacles": list(self.obstacles),
        }


def recommend(
    model: ModelInfo,
    backends: Mapping[str, Backend],
    effort: Effort,
    *,
    target: Target,
    work: Workload,
    matrix: Mapping[str, Any],
    reached: Mapping[str, Sequence[float]],
    free_memory: int | None,
    free_disk: int | None,
) -> Recommendation:
    """The recommendation. `reached` are the efficiencies that the history tells, by backend; `free_memory` and
    `free_disk` are those of the machine that builds. Raises ModelError where no backend takes the model."""
    made = ordered(plan(model, backends, effort), matrix, target.row, model)
    expected = [
        _expected(recipe, model, target, work, reached.get(recipe.backend, ())) for recipe in made.recipes
    ]
    memory, disk = roofline.building(model, made.recipes)
    return Recommendation(
        tuple(rank(matrix, target.row, model, made.backends)),
        tuple(expected),
        made.refused,
        tuple(_advice(target, made.backends, model)),
        memory,
        disk,
        tuple(_obstacles(memory, disk, free_memory, free_disk)),
    )


def ordered(made: Plan, matrix: Mapping[str, Any], row: str, model: ModelInfo) -> Plan:
    """The plan with its backends in the matrix's order; within a backend nothing moves."""
    places = {ranked.backend: at for at, ranked in enumerate(rank(matrix, row, model, made.backends))}
    recipes = sorted(made.recipes, key=lambda recipe: places[recipe.backend])
    return Plan(tuple(recipes), made.refused, made.uncut)


def _expected(
    recipe: Recipe, model: ModelInfo, target: Target, work: Workload, reached: Sequence[float]
) -> Expected:
    size = roofline.predicted_bytes(recipe, model)
    memory = roofline.predicted_memory(recipe, model, work)
    decode = roofline.predicted_decode(
        recipe, model, work, bandwidth=target.bandwidth, last_cache=target.last_cache, reached=reached
    )
    obstacle = None
    if memory.low is not None and target.memory_bytes is not None and memory.low > target.memory_bytes:
        obstacle = (
            f"needs {memory.low / 1e9:.1f} GB at least, {target.name} has {target.memory_bytes / 1e9:.1f} GB"
        )
    elif size.low is not None and target.size_budget_bytes and size.low > target.size_budget_bytes:
        obstacle = (
            f"weighs {size.low / 1e6:.0f} MB at least, the budget of {target.name} is "
            f"{target.size_budget_bytes / 1e6:.0f} MB"
        )
    return Expected(recipe, size, memory, decode, obstacle)


def _obstacles(memory: int, disk: int, free_memory: int | None, free_disk: int | None) -> list[str]:
    """Why this machine cannot build, and what would do."""
    found = []
    if free_memory is not None and memory > free_memory:
        found.append(
            f"building needs {memory / 1e9:.1f} GB of memory, {free_memory / 1e9:.1f} GB are free: build on a larger "
            "machine, or give a model that is converted already (GGUF)"
        )
    if free_disk is not None and disk > free_disk:
        found.append(
            f"building needs {disk / 1e9:.1f} GB of disk, {free_disk / 1e9:.1f} GB are free: name fewer backends "
            "(--backends), or set EDGEHONE_HOME to a folder on another disk"
        )
    return found


def _advice(target: Target, backends: Sequence[str], model: ModelInfo) -> list[Advice]:
    table = tomllib.loads(Path(__file__).with_name("advice.toml").read_text("utf-8"))["advice"]
    return [
        Advice(one["says"], one["source"]) for one in table if _applies(one["if"], target, backends, model)
    ]


def _applies(condition: Mapping[str, Any], target: Target, backends: Sequence[str], model: ModelInfo) -> bool:
    memory = target.memory_bytes
    holds: dict[str, Callable[[Any], bool]] = {
        "backend": lambda value: value in backends,
        "row": lambda value: target.row == value,
        "kind": lambda value: model.kind == value,
        "simd": lambda value: value in target.simd,
        "simd_without": lambda value: value not in target.simd,
        "threads_over": lambda value: target.threads > value,
        "memory_under_gb": lambda value: memory is not None and memory < value * 1e9,
        "accelerator": lambda value: any(value in one for one in target.accelerators),
    }
    return all(holds[name](value) for name, value in condition.items())
