"""Routing: for a mixture of experts, whether a candidate sends the tokens to the experts that the original does."""

from __future__ import annotations

from edgehone.backends.base import Recipe
from edgehone.errors import EdgehoneError, SetupError
from edgehone.figure import Figure
from edgehone.jobs.run import Input
from edgehone.jobs.store import JobResult
from edgehone.measure import routing
from edgehone.stages.bench import Bench
from edgehone.stages.build import build
from edgehone.stages.original import Original
from edgehone.stages.trial import Trial


def compare(bench: Bench, original: Original, trial: Trial) -> None:
    """Fill the figure `routing_agreement`, and the fact of the same name by block; no mixture has neither.

    What cannot be compared is a missing figure with its reason, never the trial's end.
    """
    if not bench.model.experts or trial.artifact is None:
        return
    try:
        figure, by_block = _agreement(bench, original, trial, trial.artifact)
        trial.facts[routing.FIGURE] = by_block
    except SetupError:
        raise
    except EdgehoneError as error:
        figure = Figure.missing(error.message, routing.UNIT)
    trial.figures[routing.FIGURE] = figure


def _agreement(
    bench: Bench, original: Original, trial: Trial, artifact: JobResult
) -> tuple[Figure, dict[str, float]]:
    recipe, origin = trial.recipe, bench.origin
    if len(recipe.surgery) > 1:
        raise EdgehoneError("blocks and experts are compared by their numbers after one operation only")
    for backend in (origin, bench.backends.get(recipe.backend, origin)):
        if not hasattr(backend, "open_routing"):
            raise EdgehoneError(f"{backend.NAME} does not tell which experts its runtime chooses")
    reference = origin.reference(bench.model)
    wanted = _routing(bench, original, reference, build(bench, reference))
    got = _routing(bench, original, recipe, artifact)
    return routing.agreement(wanted.out, got.out, trial.facts.get("surgery"))


def _routing(bench: Bench, original: Original, recipe: Recipe, artifact: JobResult) -> JobResult:
    inputs = {"artifact": artifact, "prepared": original.prepared, "reference": original.reference}
    return bench.run(
        recipe.backend,
        "edgehone.measure.routing:routing",
        {"settings": dict(recipe.settings)},
        {name: Input.of(result) for name, result in inputs.items()},
        opens=True,
    )
