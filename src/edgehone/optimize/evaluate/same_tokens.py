"""Speculative decoding must not change the answer: its greedy tokens are compared with the plain ones.

A score does not see drafts, so a recipe with such settings has the quality figures of its artifact. That it also gives
the artifact's answers is shown here, before it is measured.
"""

from __future__ import annotations

from edgehone.backends.base import Recipe
from edgehone.core.events import Event
from edgehone.execution.job import Input
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial, guarded

# Settings that draft tokens: from the prompt, or by a smaller model in the artifact.
DRAFTING = ("prompt_lookup", "draft")


def drafts(recipe: Recipe) -> bool:
    """Return True if a recipe's settings draft tokens."""
    return any(recipe.settings.get(name) for name in DRAFTING)


def prove(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Compare the tokens of a trial that drafts with those of its artifact without drafts; drop it if they differ.

    The fact `same_tokens` is the number of tokens that were compared. Other trials are left as they are.
    """
    recipe = trial.recipe
    if not trial.alive or trial.artifact is None or not drafts(recipe):
        return
    with guarded(ctx, trial):
        done = ctx.run(
            recipe.backend,
            "edgehone.worker.same_tokens:compare",
            {
                "settings": dict(recipe.settings),
                "plain": {name: one for name, one in recipe.settings.items() if name not in DRAFTING},
                "bos": list(original.prepared.facts["bos"]),
            },
            {"artifact": Input.of(trial.artifact), "prepared": Input.of(original.prepared)},
            opens_session=True,
            on_progress=ctx.announce(recipe, "scoring", "comparing its tokens with those without drafts"),
        )
        trial.facts["same_tokens"] = done.facts["compared"]
        if differs := done.facts["differs"]:
            reason = (
                f"its greedy tokens differ from those without drafts: in prompt {differs['prompt']} after "
                f"{differs['equal']} equal ones"
            )
            trial.drop("skipped", reason)
            ctx.emit(Event(recipe.key, "skipped", reason))
