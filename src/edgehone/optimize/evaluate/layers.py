"""Layers of a model on an accelerator in part: how many fit its memory, and how few meet a target, found by bisection.

Every further layer on the device takes more of its memory and, on a device that is faster than the CPU, less time. So
there is a largest number that fits and a smallest one that is fast enough, and halving the range finds each in
log2(layers) looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgehone.backends.base import Recipe
from edgehone.backends.capabilities import LAYERS, PartialOffload, capability
from edgehone.core.errors import JobError
from edgehone.core.events import Event
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial

# A look at whether layers fit: a turn of the workload's own requests, so with the KV cache that they need.
ANSWER = "edgehone.worker.memory:exercise"
# The fact of a trial whose layers are on a device in part: why so many.
FACT = "layers_on_device"


def most(low: int, high: int, fits: Callable[[int], bool]) -> int | None:
    """Return the largest number from `low` to `high` that fits, None if none does. Fewer fit, too."""
    found = None
    while low <= high:
        middle = (low + high + 1) // 2
        if fits(middle):
            found, low = middle, middle + 1
        else:
            high = middle - 1
    return found


def least(low: int, high: int, meets: Callable[[int], bool]) -> int | None:
    """Return the smallest number from `low` to `high` that meets a target, None if none does. More do, too."""
    found = most(-high, -low, lambda number: meets(-number))
    return None if found is None else -found


def layers_of(ctx: RunContext, recipe: Recipe) -> int:
    """Return how many layers of the model can be put on the recipe's device one by one; 0 if all or none must be."""
    offers = capability(ctx.backends[recipe.backend], PartialOffload) if recipe.device else None
    return offers.offloadable_layers(recipe, ctx.model) if offers else 0


def with_layers(recipe: Recipe, count: int) -> Recipe:
    """Return the recipe with so many layers on its device."""
    return replace(recipe, settings={**recipe.settings, LAYERS: count})


def fit(ctx: RunContext, original: Original, trial: Trial, artifact: JobResult) -> None:
    """Put as many layers of a trial on its device as fit its memory, if not all do.

    Nothing is done for other trials. If not even one fits, the trial is left as it is, and fails as it would have.
    """
    total = layers_of(ctx, trial.recipe)
    if total < 2 or LAYERS in trial.recipe.settings or _answers(ctx, original, trial.recipe, artifact):
        return
    recipe = trial.recipe
    found = most(1, total - 1, lambda n: _answers(ctx, original, with_layers(recipe, n), artifact))
    if found is None:
        return
    trial.recipe = with_layers(recipe, found)
    why = f"{found} of {total} layers on {recipe.device}: no more fit its memory with the workload's context"
    trial.facts[FACT] = why
    ctx.emit(Event(recipe.key, "scoring", why))


def _answers(ctx: RunContext, original: Original, recipe: Recipe, artifact: JobResult) -> bool:
    """Return whether the artifact answers a turn of the workload's requests with the settings of a recipe."""
    count = recipe.settings.get(LAYERS, "all")
    try:
        ctx.run(
            recipe.backend,
            ANSWER,
            {"settings": dict(recipe.settings), **original.request},
            {"artifact": Input.of(artifact), **original.inputs},
            opens_session=True,
            exclusive=True,  # another job's layers would take the device's memory
            on_progress=ctx.announce(recipe, "scoring", f"{count} layers on {recipe.device}"),
        )
    except JobError:
        return False
    return True
