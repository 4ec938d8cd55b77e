"""Routing of mixtures of experts: compare which experts a candidate and the original choose for each token."""

from __future__ import annotations

from edgehone.backends.base import Recipe
from edgehone.backends.capabilities import RoutingBackend, capability
from edgehone.core.errors import EdgehoneError, SetupError
from edgehone.core.figure import Figure
from edgehone.evaluation import routing
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.optimize.build import build
from edgehone.optimize.context import RunContext
from edgehone.optimize.original import Original
from edgehone.optimize.trial import Trial


def compare(ctx: RunContext, original: Original, trial: Trial) -> None:
    """Set the figure `routing_agreement` and, per block, the fact of the same name, for mixtures of experts only.

    If routing cannot be compared, the figure is missing with the reason; the trial goes on.
    """
    if not ctx.model.experts or trial.artifact is None:
        return
    try:
        figure, by_block = _agreement(ctx, original, trial, trial.artifact)
        trial.facts[routing.FIGURE] = by_block
    except SetupError:
        raise
    except EdgehoneError as error:
        figure = Figure.missing(error.message, routing.UNIT)
    trial.figures[routing.FIGURE] = figure


def _agreement(
    ctx: RunContext, original: Original, trial: Trial, artifact: JobResult
) -> tuple[Figure, dict[str, float]]:
    recipe, origin = trial.recipe, ctx.reference_backend
    if len(recipe.surgery) > 1:
        raise EdgehoneError("routing cannot be compared after several surgery operations")
    for backend in (origin, ctx.backends.get(recipe.backend, origin)):
        if capability(backend, RoutingBackend) is None:
            raise EdgehoneError(f"{backend.NAME} does not tell which experts its runtime chooses")
    reference = origin.reference(ctx.model)
    wanted = _routing(ctx, original, reference, build(ctx, reference))
    got = _routing(ctx, original, recipe, artifact)
    return routing.agreement(wanted.out, got.out, trial.facts.get("surgery"))


def _routing(ctx: RunContext, original: Original, recipe: Recipe, artifact: JobResult) -> JobResult:
    inputs = {"artifact": artifact, "prepared": original.prepared, "reference": original.reference}
    return ctx.run(
        recipe.backend,
        "edgehone.worker.routing:routing",
        {"settings": dict(recipe.settings)},
        {name: Input.of(result) for name, result in inputs.items()},
        opens_session=True,
    )
