"""Recommend what to try, in which order and why, with predicted figures, without building anything.

Frameworks are in the order of the matrix, recipes in each backend's own order. All figures are marked as predicted
(`roofline`). Builds that do not fit on this machine are refused with what would fit (`building`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import EFFORTS, Backend, Effort, Recipe
from edgehone.core.errors import ModelError
from edgehone.core.figure import Figure
from edgehone.model.info import ModelInfo
from edgehone.plan import building
from edgehone.plan.advice import Advice, advice
from edgehone.plan.expect import Expected, Known, expect
from edgehone.plan.matrix import Matrix, Ranked, rank
from edgehone.plan.plan import Plan, plan
from edgehone.plan.run_cost import Costs, Fitted, Measuring, RunCost, RunLimits, fit
from edgehone.plan.target import PredictionTarget

if TYPE_CHECKING:
    from edgehone.inputs.workload import Workload


@dataclass(frozen=True)
class Recommendation:
    """The ranked frameworks, the recipes with predicted figures, and the bytes that building them takes."""

    ranked: tuple[Ranked, ...]
    expected: tuple[Expected, ...]
    refused: Mapping[str, str]
    advice: tuple[Advice, ...]
    build_memory: int
    build_disk: int
    obstacles: tuple[str, ...]  # why this machine cannot build them, and what would fit
    build_seconds: Figure = field(default_factory=lambda: Figure.missing("nothing is built", "s"))
    run: RunCost | None = None  # of the whole run; None for models that generate no text
    left_out: Mapping[str, str] = field(
        default_factory=dict
    )  # recipes that do not fit the run, with the reasons

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {
            "frameworks": [asdict(one) for one in self.ranked],
            "recipes": [one.to_json() for one in self.expected],
            "refused": dict(self.refused),
            "advice": [asdict(one) for one in self.advice],
            "build": {
                "memory_bytes": self.build_memory,
                "disk_bytes": self.build_disk,
                "seconds": self.build_seconds.to_json(),
            },
            "obstacles": list(self.obstacles),
            "run": self.run.to_json() if self.run else None,
            "left_out": dict(self.left_out),
        }


def recommend(
    model: ModelInfo,
    backends: Mapping[str, Backend],
    effort: Effort,
    *,
    target: PredictionTarget,
    work: Workload,
    matrix: Matrix,
    known: Known,
    fitting: Fitting | None = None,
) -> Recommendation:
    """Return the recommendation. Raises ModelError if no backend supports the model."""
    planned = apply_matrix(
        plan(model, backends, effort, simd=target.simd),
        matrix,
        target.row,
        target.unsupported_backends(matrix),
        model,
    )
    fitted = fitting.fit(model, backends, planned.recipes, work, known) if fitting else None
    recipes = [one.recipe for one in fitted.expected] if fitted else planned.recipes
    expected = [expect(recipe, model, target, work, known) for recipe in recipes]
    needed = building.resources(model, recipes)
    return Recommendation(
        tuple(rank(matrix, target.row, model, planned.backends)),
        tuple(expected),
        planned.refused,
        tuple(advice(target, planned.backends, model)),
        needed.memory,
        needed.disk,
        tuple(building.obstacles(needed, known.free_memory, known.free_disk)),
        _total([one.build for one in expected]),
        fitted.cost if fitted else None,
        fitted.left_out if fitted else {},
    )


@dataclass(frozen=True)
class Fitting:
    """What a plan is fitted to: the effort with what it measures, the limits, and the original's own recipe.

    Where even few recipes take longer than the limit, `fewest_tokens` of evaluation text are scored; 0: as many as
    ever.
    """

    effort: Effort
    measuring: Measuring
    limits: RunLimits
    original: Recipe
    fewest_tokens: int = 0

    def fit(
        self,
        model: ModelInfo,
        backends: Mapping[str, Backend],
        recipes: Sequence[Recipe],
        work: Workload,
        known: Known,
    ) -> Fitted:
        """Return the recipes that fit this machine, on which they are built and scored, and the cost of the run."""

        def here(recipe: Recipe) -> Expected:
            return expect(recipe, model, known.here, work, known)

        names = {recipe.backend for recipe in recipes}
        planned = {recipe.key for recipe in recipes}
        later = [
            here(recipe)
            for name in sorted(names & backends.keys())
            for recipe in backends[name].recipes(model)
            if recipe.key not in planned and EFFORTS.index(recipe.effort) > EFFORTS.index(self.effort)
        ]
        memory = self.limits.memory or known.free_memory or known.here.memory_bytes or 0
        together = building.at_once(model, known.here.threads, memory)
        costs = Costs(model, here(self.original), self.measuring, known.here.compute, together)
        wanted = [here(recipe) for recipe in recipes]
        fitted = fit(costs, wanted, later, self.effort, self.limits)
        seconds, most = fitted.cost.seconds.value, self.limits.seconds
        if (
            most is None
            or seconds is None
            or seconds <= most
            or not 0 < self.fewest_tokens < self.measuring.tokens
        ):
            return fitted
        fewer = replace(costs, measuring=replace(self.measuring, tokens=self.fewest_tokens))
        return replace(fit(fewer, wanted, later, self.effort, self.limits), tokens=self.fewest_tokens)


def apply_matrix(
    plan: Plan, matrix: Matrix, row: str, unsupported: Mapping[str, str], model: ModelInfo
) -> Plan:
    """Return the plan with its backends in the order of the matrix row, without the `unsupported` ones.

    The order of recipes within a backend does not change. `unsupported` maps backends that cannot run on the device to
    reasons, which are added to `refused`. Raises ModelError if no backend remains.
    """
    removed = {name: why for name, why in unsupported.items() if name in plan.backends}
    recipes = [recipe for recipe in plan.recipes if recipe.backend not in removed]
    refused = {**plan.refused, **removed}
    if not recipes:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in refused.items())
        raise ModelError(
            f"no backend that supports {model.path} runs on that device:{reasons}",
            hint="edgehone device list",
        )
    ranks = {ranked.backend: at for at, ranked in enumerate(rank(matrix, row, model, plan.backends))}
    recipes.sort(key=lambda recipe: ranks[recipe.backend])
    return Plan(tuple(recipes), refused, plan.skipped_surgery)


def _total(times: Sequence[Figure]) -> Figure:
    """Return the sum of all build times. It is missing if any of them is."""
    if not times:
        return Figure.missing("nothing is built", "s")
    for one in times:
        if one.value is None:
            return one
    ends = ([getattr(one, end) or 0.0 for one in times] for end in ("value", "low", "high"))
    value, low, high = (float(sum(end)) for end in ends)
    return Figure(value, low, high, 0, "s", "predicted")
