"""Verify the chosen candidate on the target device: score its quality there before the choice is final.

Builds and quality scores run on the build executor. A runtime takes other code paths on another processor, so quality
on the target device has to be scored there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgehone.core.events import Event
from edgehone.decision.decision import Decision
from edgehone.execution.store import JobResult
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import parity
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial


def verify_on_target(
    ctx: RunContext, original: Original, trials: Sequence[Trial], decide: Callable[[], Decision]
) -> Decision:
    """Decide, score the chosen trial on the target, and repeat until the chosen one has been scored there."""
    decision = decide()
    while ctx.target_is_remote:
        chosen = next((trial for trial in trials if trial.recipe.key == decision.chosen), None)
        if chosen is None or chosen.artifact is None or "proven_on" in chosen.facts:
            break
        _prove(ctx, original, chosen, chosen.artifact)
        chosen.facts["proven_on"] = ctx.target_executor.label
        if chosen.alive:
            ctx.emit(Event(chosen.recipe.key, "done", f"proven on {chosen.facts['proven_on']}"))
        decision = decide()
    return decision


def _prove(ctx: RunContext, original: Original, trial: Trial, artifact: JobResult) -> None:
    parity.build_and_score(ctx.on_target, original, trial, lambda ctx, recipe: artifact)
