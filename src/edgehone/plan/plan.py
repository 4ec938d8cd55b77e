"""The plan of a run: the recipes to try, and why each backend that is left out is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgehone.backends.base import EFFORTS, Backend, Effort, Recipe
from edgehone.core.errors import ModelError
from edgehone.model.info import ModelInfo
from edgehone.plan import mixed, surgery


@dataclass(frozen=True)
class Plan:
    """`recipes` to try, each backend's exact one first; `refused` tells why a backend is not in it.

    `uncut` tells by operation why a surgery that the effort allows is not proposed, `unplaced` by backend and device
    why nothing is tried on an accelerator that was seen.
    """

    recipes: tuple[Recipe, ...]
    refused: Mapping[str, str]
    uncut: Mapping[str, str] = field(default_factory=dict)
    unplaced: Mapping[str, str] = field(default_factory=dict)

    @property
    def backends(self) -> list[str]:
        """The backends that have a recipe in the plan, in order."""
        return list(dict.fromkeys(recipe.backend for recipe in self.recipes))


def plan(
    model: ModelInfo,
    backends: Mapping[str, Backend],
    effort: Effort,
    *,
    baseline: str = "",
    most_bytes: int | None = None,
) -> Plan:
    """Every recipe of every backend that takes the model, as far as the effort goes.

    `baseline` is the key of the original itself, which is measured anyway and is no candidate. `most_bytes`: what an
    artifact may weigh, where the user says so.
    Raises ModelError, with each backend's reason, if none takes it.
    """
    recipes: list[Recipe] = []
    refused = {}
    uncut: dict[str, str] = {}
    for name, backend in backends.items():
        support = backend.supports(model)
        if not support.ok:
            refused[name] = "; ".join(support.reasons)
            continue
        wanted = [
            recipe
            for recipe in backend.recipes(model)
            # The exact one is always built: without the null test nothing of the backend counts.
            if (recipe.exact or EFFORTS.index(recipe.effort) <= EFFORTS.index(effort))
            and recipe.key != baseline
        ]
        if not wanted:
            refused[name] = "it runs the original only and proposes no recipe"
        elif not any(recipe.exact for recipe in wanted):
            refused[name] = "it proposes no exact recipe, so it cannot be held to the null test"
        else:
            cut, why_not = surgery.propose(model, wanted, effort)
            recipes += [*wanted, *mixed.fitted(model, wanted, most_bytes), *cut]
            uncut |= why_not
    if not recipes:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in refused.items())
        raise ModelError(
            f"no backend can take {model.path} ({model.architecture}):{reasons}",
            hint=f"edgehone inspect {model.path}",
        )
    return Plan(tuple(recipes), refused, uncut)
