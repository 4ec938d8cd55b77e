"""Build a recipe by running its steps as jobs. A step shared by several recipes runs once."""

from __future__ import annotations

from collections.abc import Mapping

from edgehone.backends.base import Recipe, Step
from edgehone.backends.capabilities import SensitivityBackend, capability
from edgehone.core.errors import NothingToGain
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.optimize.context import RunContext
from edgehone.transform.surgery import operations

SENSITIVITY = "sensitivity"


def build(ctx: RunContext, recipe: Recipe) -> JobResult:
    """Run the steps of a recipe and return the result of the last one, whose folder is the artifact.

    Raises JobError if a step fails, and NothingToGain if a step returns the fact `nothing_to_gain` (the reason).
    """
    backend = (
        ctx.reference_backend
        if recipe.backend == ctx.reference_backend.NAME
        else ctx.backends[recipe.backend]
    )
    given = {"model": ctx.source, **ctx.datasets}
    if recipe.surgery:
        given["model"] = Input.of(operate(ctx, recipe))
    return _make(ctx, recipe, recipe.backend, backend.steps(recipe), given)


def seconds(ctx: RunContext, recipe: Recipe) -> float:
    """Return the seconds that all steps of a built recipe took. A shared step counts for each of its recipes."""
    backend = (
        ctx.reference_backend
        if recipe.backend == ctx.reference_backend.NAME
        else ctx.backends[recipe.backend]
    )
    given = {"model": ctx.source, **ctx.datasets}
    if recipe.surgery:
        given["model"] = Input.of(operate(ctx, recipe))

    def took(step: Step) -> float:
        # Every step is in the store, so nothing runs.
        return _make(ctx, recipe, recipe.backend, step, given).seconds + sum(map(took, step.inputs.values()))

    return took(backend.steps(recipe))


def operate(ctx: RunContext, recipe: Recipe) -> JobResult:
    """Apply the recipe's surgery to the checkpoint, in the reference backend's environment.

    Recipes with the same surgery share the result.
    """
    given = {"model": ctx.source, **ctx.datasets}
    return _make(ctx, recipe, ctx.reference_backend.NAME, operations.steps(recipe.surgery), given)


def sensitivity(ctx: RunContext, recipe: Recipe, given: Mapping[str, Input]) -> JobResult:
    """Measure how much quantizing each weight changes the original. All recipes of all backends share the result.

    Raises NothingToGain where the original's backend cannot tell.
    """
    measured = capability(ctx.reference_backend, SensitivityBackend)
    if measured is None:
        raise NothingToGain(f"{ctx.reference_backend.NAME} does not tell what rounding each weight costs")
    return _make(ctx, recipe, ctx.reference_backend.NAME, measured.SENSITIVITY, given)


def _make(ctx: RunContext, recipe: Recipe, backend: str, step: Step, given: Mapping[str, Input]) -> JobResult:
    if SENSITIVITY in step.reads and SENSITIVITY not in given:
        given = {**given, SENSITIVITY: Input.of(sensitivity(ctx, recipe, given))}
    inputs = {name: given[name] for name in step.reads}
    needed = {name: _make(ctx, recipe, backend, each, given) for name, each in step.inputs.items()}
    inputs |= {name: Input.of(made) for name, made in needed.items()}
    on_progress = ctx.announce(recipe, "building", step.call.partition(":")[2])
    made = ctx.run(backend, step.call, step.params, inputs, on_progress=on_progress, links=step.links)
    if nothing := made.facts.get("nothing_to_gain"):
        raise NothingToGain(str(nothing))
    return made


def size_of(artifact: JobResult) -> int:
    """Return the total size of an artifact's files in bytes; links count with the size of their targets."""
    return sum(path.stat().st_size for path in artifact.out.rglob("*") if path.is_file())
