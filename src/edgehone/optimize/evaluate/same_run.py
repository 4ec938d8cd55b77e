"""Whether two recipes run the same artifact in the same way, so that one of them is scored and timed for both.

The unchanged GGUF file is such a case: as a candidate it is what the original is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgehone.backends.base import Recipe
from edgehone.backends.capabilities import session_backend
from edgehone.execution.job import Input
from edgehone.optimize.context import RunContext
from edgehone.optimize.trial import Trial


def runs_as(ctx: RunContext, recipe: Recipe, artifact: Input) -> tuple[str, Mapping[str, Any], str]:
    """Return what determines a run: the backend whose sessions run, the settings, and the artifact's identity."""
    backend = (
        ctx.reference_backend
        if recipe.backend == ctx.reference_backend.NAME
        else ctx.backends[recipe.backend]
    )
    return session_backend(backend), dict(recipe.settings), artifact.identity


def twins(ctx: RunContext, baseline: Trial, trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that run as the baseline does; none if the baseline is not among the trials."""
    if baseline.artifact is None or not any(one is baseline for one in trials):
        return []
    own = runs_as(ctx, baseline.recipe, Input.of(baseline.artifact))
    return [
        one
        for one in trials
        if one is not baseline
        and one.artifact is not None
        and runs_as(ctx, one.recipe, Input.of(one.artifact)) == own
    ]
