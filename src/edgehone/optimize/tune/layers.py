"""The fewest layers on an accelerator that meet a target of speed: the rest of its memory is left to others."""

from __future__ import annotations

from dataclasses import replace

from edgehone.backends.capabilities import LAYERS
from edgehone.core.events import Event
from edgehone.decision.decide import judged_of
from edgehone.decision.gates import verdict_of
from edgehone.decision.requirements import Gate, Requirements
from edgehone.evaluation import speed
from edgehone.optimize.context import RunContext
from edgehone.optimize.evaluate import layers, measure, speed_rounds
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial
from edgehone.optimize.tune.variants import scored_variant


def fewest(
    ctx: RunContext, original: Original, chosen: Trial, required: Requirements
) -> tuple[Trial | None, list[Trial]]:
    """Return the chosen trial with the fewest layers on its device that meet the targets of speed, and all tried.

    None if there is no such target, if the chosen one does not meet them, or if it needs all of its layers there. Each
    number is scored, since other layers run elsewhere, and measured in rounds of its own.
    """
    targets = [one for one in required.targets if one.figure in speed.UNITS]
    total = layers.layers_of(ctx, chosen.recipe)
    highest = int(chosen.recipe.settings.get(LAYERS, total)) - 1
    if not targets or highest < 1 or not _meets(chosen, targets):
        return None, []
    ctx.emit(Event("", detail=f"searching the fewest layers on {chosen.recipe.device} that meet the targets"))
    own = replace(ctx, measurement_group="layers")
    tried: dict[int, Trial] = {}

    def meets(count: int) -> bool:
        tried[count] = _measured(own, original, chosen, count)
        judged = judged_of(tried[count].candidate(), original.baseline.candidate(), required)
        return tried[count].alive and _meets(tried[count], targets) and all(one.ok for one in judged.verdicts)

    found = layers.least(1, highest, meets)
    told = ", ".join(f"{one.figure}{one.op}{one.threshold:g}" for one in targets)
    for count, trial in tried.items():
        if count != found and trial.alive:
            trial.facts["raced_out"] = (
                f"does not meet {told}"
                if found is None or count < found
                else f"meets {told} with more layers"
            )
    if found is None:
        return None, list(tried.values())
    winner = tried[found]
    winner.facts[layers.FACT] = (
        f"{found} of {total} layers on {chosen.recipe.device}: the fewest that meet {told}"
    )
    chosen.facts["raced_out"] = (
        f"superseded by {winner.recipe.key}, which meets {told} with fewer layers there"
    )
    return winner, list(tried.values())


def _measured(ctx: RunContext, original: Original, chosen: Trial, count: int) -> Trial:
    recipe = layers.with_layers(chosen.recipe, count)
    named = replace(recipe, name=f"{chosen.recipe.name}[{LAYERS}={count}]", exact=False)
    trial = scored_variant(ctx, original, chosen, named)
    speed_rounds.measure_speed(ctx, original, [trial])
    measure.measure_memory(ctx, original, trial)
    return trial


def _meets(trial: Trial, targets: list[Gate]) -> bool:
    figures = trial.candidate()
    return all(verdict_of(one, figures.figure(one.figure)).ok for one in targets)
