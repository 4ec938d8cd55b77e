"""Variants: a chosen artifact run in other ways, each a trial of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgehone.backends.base import Recipe, TunableSetting
from edgehone.backends.capabilities import tunable_settings
from edgehone.decision.decide import derive
from edgehone.decision.gates import hopeless
from edgehone.decision.requirements import Requirements
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import measure, parity
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial


def variants(ctx: RunContext, original: Original, chosen: Trial, required: Requirements) -> list[Trial]:
    """A trial for each other value of each setting; what changes outputs is proven before it runs."""
    backend = ctx.backends[chosen.recipe.backend]
    made = []
    for option in tunable_settings(backend, chosen.recipe, ctx.device, ctx.workload.context):
        for value in _others(option, chosen.recipe):
            recipe = with_settings(chosen.recipe, {option.name: value})
            if option.exact:
                made.append(beside(original, chosen, recipe))
            else:
                made.append(proven(ctx, original, chosen, recipe))
    for trial in made:
        found = derive(trial.candidate(), original.baseline.candidate())
        if trial.alive and (reason := hopeless(found, required)):
            trial.drop("skipped", f"not measured: {reason}")
    return made


def _others(option: TunableSetting, recipe: Recipe) -> list[Any]:
    holds = recipe.settings.get(option.name, option.default)
    return [value for value in option.values if value != holds]


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe run with other settings, which its name tells."""
    shown = ",".join(f"{name}={value}" for name, value in settings.items())
    return replace(
        recipe, name=f"{recipe.name}[{shown}]", settings={**recipe.settings, **settings}, exact=False
    )


def beside(original: Original, chosen: Trial, recipe: Recipe | None = None) -> Trial:
    """The same artifact and outputs, run as another recipe says, not measured yet."""
    assert chosen.score is not None
    trial = Trial(recipe or chosen.recipe, artifact=chosen.artifact, score=chosen.score, bytes=chosen.bytes)
    trial.facts["tuned_from"] = chosen.recipe.key
    trial.figures.update({n: f for n, f in chosen.figures.items() if n not in measure.RUNTIME_FIGURES})
    return trial


def proven(ctx: RunContext, original: Original, chosen: Trial, recipe: Recipe) -> Trial:
    """The same artifact run as another recipe says, its outputs proven anew."""
    assert chosen.artifact is not None
    artifact = chosen.artifact
    trial = Trial(recipe, facts={"tuned_from": chosen.recipe.key})
    parity.build_and_score(ctx, original, trial, make=lambda _, __: artifact)
    return trial


def changed(recipe: Recipe, before: Recipe) -> dict[str, Any]:
    """The settings in which a recipe differs from another, as it has them."""
    return {n: v for n, v in recipe.settings.items() if n not in before.settings or before.settings[n] != v}
