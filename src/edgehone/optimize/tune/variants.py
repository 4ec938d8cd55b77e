"""Variants: the chosen artifact with other runtime settings, each as a separate trial."""

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
from edgehone.optimize.evaluate import measure, parity, same_tokens
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial

# Drafts that give fewer tokens a pass cannot gain: a pass that verifies some takes longer than a plain one.
LEAST_PER_PASS = 1.05
# Settings whose drafts give as many are compared first, if the time does not suffice for all.
MANY_PER_PASS = 1.5


def variants(ctx: RunContext, original: Original, chosen: Trial, required: Requirements) -> list[Trial]:
    """Return a trial for each other value of each setting, those that promise most first.

    Settings that change outputs are scored first, and the tokens of those that draft are compared.
    """
    backend = ctx.backends[chosen.recipe.backend]
    trials = []
    for option in tunable_settings(backend, chosen.recipe, ctx.device, ctx.workload.context):
        for value in _others(option, chosen.recipe):
            recipe = with_settings(chosen.recipe, {option.name: value})
            if option.exact:
                trials.append(variant_of(original, chosen, recipe))
                same_tokens.prove(ctx, original, trials[-1])
            else:
                trials.append(scored_variant(ctx, original, chosen, recipe))
    for trial in trials:
        figures = derive(trial.candidate(), original.baseline.candidate())
        if trial.alive and (reason := _idle(trial) or hopeless(figures, required)):
            trial.drop("skipped", f"not measured: {reason}")
    return sorted(trials, key=lambda trial: _per_pass(trial) < MANY_PER_PASS)


def _per_pass(trial: Trial) -> float:
    found = trial.facts.get(same_tokens.TOKENS_PER_PASS)
    return float(found) if isinstance(found, (int, float)) else 1.0


def _idle(trial: Trial) -> str | None:
    """Return why drafts cannot gain; None if they may, or for a trial that does not draft."""
    if same_tokens.TOKENS_PER_PASS not in trial.facts or _per_pass(trial) >= LEAST_PER_PASS:
        return None
    return f"a pass over the weights gives {_per_pass(trial):.2f} tokens with its drafts on the prompts, without them 1"


def _others(option: TunableSetting, recipe: Recipe) -> list[Any]:
    holds = recipe.settings.get(option.name, option.default)
    return [value for value in option.values if value != holds]


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with other settings, which are added to its name."""
    shown = ",".join(f"{name}={value}" for name, value in settings.items())
    return replace(
        recipe, name=f"{recipe.name}[{shown}]", settings={**recipe.settings, **settings}, exact=False
    )


def variant_of(original: Original, chosen: Trial, recipe: Recipe | None = None) -> Trial:
    """Return an unmeasured trial with the chosen artifact and its quality figures, and the settings of `recipe`."""
    assert chosen.score is not None
    trial = Trial(recipe or chosen.recipe, artifact=chosen.artifact, score=chosen.score, bytes=chosen.bytes)
    trial.facts["tuned_from"] = chosen.recipe.key
    trial.figures.update({n: f for n, f in chosen.figures.items() if n not in measure.RUNTIME_FIGURES})
    return trial


def scored_variant(ctx: RunContext, original: Original, chosen: Trial, recipe: Recipe) -> Trial:
    """Return a trial with the chosen artifact and the settings of `recipe`, whose outputs are scored again."""
    assert chosen.artifact is not None
    artifact = chosen.artifact
    trial = Trial(recipe, facts={"tuned_from": chosen.recipe.key})
    parity.build_and_score(ctx, original, trial, make=lambda _, __: artifact)
    return trial


def changed(recipe: Recipe, before: Recipe) -> dict[str, Any]:
    """Return the settings of a recipe that differ from those of another one."""
    return {n: v for n, v in recipe.settings.items() if n not in before.settings or before.settings[n] != v}
