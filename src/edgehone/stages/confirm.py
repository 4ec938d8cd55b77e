"""Confirm: what is chosen for another machine is scored on that machine before it is chosen for good.

Builds and scores are made here, where there is more room; but a runtime on another processor takes other code paths, so
the quality that was proven here is not yet that of the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgehone.decide.decision import Decision
from edgehone.events import Event
from edgehone.jobs.store import JobResult
from edgehone.stages import check
from edgehone.stages.bench import Bench
from edgehone.stages.original import Original
from edgehone.stages.trial import Trial


def confirm(
    bench: Bench, original: Original, trials: Sequence[Trial], decide: Callable[[], Decision]
) -> Decision:
    """Decide; score the chosen one on the device and decide again, until the chosen one is proven there."""
    decision = decide()
    while bench.elsewhere:
        chosen = next((trial for trial in trials if trial.recipe.key == decision.chosen), None)
        if chosen is None or chosen.artifact is None or "proven_on" in chosen.facts:
            break
        _prove(bench, original, chosen, chosen.artifact)
        chosen.facts["proven_on"] = bench.stand.place.name or "this machine"
        if chosen.alive:
            bench.emit(Event(chosen.recipe.key, "done", f"proven on {chosen.facts['proven_on']}"))
        decision = decide()
    return decision


def _prove(bench: Bench, original: Original, trial: Trial, artifact: JobResult) -> None:
    check.prove(bench.on_the_device, original, trial, lambda bench, recipe: artifact)
