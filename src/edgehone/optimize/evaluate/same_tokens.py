"""Speculative decoding must not change the answer: its greedy tokens are compared with the plain ones, but for ties.

A score does not see drafts, so a recipe with such settings has the quality figures of its artifact. That it also gives
the artifact's answers is shown here, before it is measured, on the prompts of the timed requests.
"""

from __future__ import annotations

from edgehone.backends.shared.drafts import DRAFTING, drafts
from edgehone.core.events import Event
from edgehone.execution.job import Input
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import request_prompts
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial, guarded

# The fact of a trial that drafts: how many tokens a pass over the weights gave on average, the prompt's pass left out.
# Without drafts it is 1. None if the runtime does not tell which tokens came together.
TOKENS_PER_PASS = "tokens_per_pass"


def prove(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Compare the tokens of a trial that drafts with those of its artifact without drafts; drop it if they differ.

    The fact `same_tokens` is the number of tokens that were compared, `ties` that of prompts which go on differently
    after a tie (`worker.same_tokens`), `tokens_per_pass` what the drafts gain. Other trials are left as they are.
    """
    recipe = trial.recipe
    if not trial.alive or trial.artifact is None or not drafts(recipe.settings):
        return
    with guarded(ctx, trial):
        done = ctx.run(
            recipe.backend,
            "edgehone.worker.same_tokens:compare",
            {
                "settings": dict(recipe.settings),
                "plain": {name: one for name, one in recipe.settings.items() if name not in DRAFTING},
                "bos": list(original.prepared.facts["bos"]),
                "prompts": original.facts.get(request_prompts.FACT) or [],
                "context": ctx.model.context,
            },
            {"artifact": Input.of(trial.artifact), "prepared": Input.of(original.prepared)},
            opens_session=True,
            on_progress=ctx.announce(recipe, "scoring", "comparing its tokens with those without drafts"),
        )
        trial.facts["same_tokens"] = done.facts["compared"]
        trial.facts["ties"] = done.facts["ties"]
        trial.facts[TOKENS_PER_PASS] = done.facts[TOKENS_PER_PASS]
        if differs := done.facts["differs"]:
            reason = (
                f"its greedy tokens differ from those without drafts: in prompt {differs['prompt']} after "
                f"{differs['equal']} equal ones; one of them is {differs['short']:.2g} nats less likely than the "
                f"likeliest, of those without drafts {differs['plain']:.2g} at most"
            )
            trial.drop("skipped", reason)
            ctx.emit(Event(recipe.key, "skipped", reason))
