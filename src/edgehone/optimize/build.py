"""Build a recipe by running its steps as jobs. A step shared by several recipes runs once."""

from __future__ import annotations

from collections.abc import Mapping

from edgehone.backends.base import Recipe, Step
from edgehone.backends.capabilities import SensitivityBackend, capability
from edgehone.core.errors import NothingToGain
from edgehone.execution.job import Input
from edgehone.execution.run import restore
from edgehone.execution.store import JobResult
from edgehone.model.info import ModelInfo
from edgehone.optimize import artifact_digests
from edgehone.optimize.context import RunContext
from edgehone.transform.surgery import operations

SENSITIVITY = "sensitivity"


def build(ctx: RunContext, recipe: Recipe) -> JobResult:
    """Run the steps of a recipe and return the result of the last one, whose folder is the artifact.

    Raises JobError if a step fails, and NothingToGain if a step returns the fact `nothing_to_gain` (the reason), or if
    no weight is quantized in the build of a recipe whose name promises it.
    """
    backend = (
        ctx.reference_backend
        if recipe.backend == ctx.reference_backend.NAME
        else ctx.backends[recipe.backend]
    )
    sources = {"model": ctx.source, **ctx.datasets}
    if recipe.surgery:
        sources["model"] = Input.of(operate(ctx, recipe))
    result = _run_step(ctx, recipe, recipe.backend, backend.steps(recipe), sources)
    restore([result.out])  # as an intermediate result of an earlier run it may have lost its files
    artifact_digests.record(result)
    if recipe.quantizes and result.facts.get("quantized_share") == 0:
        names = ", ".join(result.facts.get("unquantized", ()))
        raise NothingToGain("no weight was quantized" + (f": all stay in floats ({names})" if names else ""))
    return result


def seconds(ctx: RunContext, recipe: Recipe) -> float:
    """Return the seconds that all steps of a built recipe took. A shared step counts for each of its recipes."""
    return sum(result.seconds for result in _step_results(ctx, recipe))


def intermediates(ctx: RunContext, recipe: Recipe) -> list[JobResult]:
    """Return the results of all steps of a built recipe but the last, whose result is the artifact."""
    _, *others = _step_results(ctx, recipe)
    return [*others, operate(ctx, recipe)] if recipe.surgery else others


def _step_results(ctx: RunContext, recipe: Recipe) -> list[JobResult]:
    """Return the results of all steps of a built recipe, the last one first. They are in the store; nothing runs."""
    backend = (
        ctx.reference_backend
        if recipe.backend == ctx.reference_backend.NAME
        else ctx.backends[recipe.backend]
    )
    sources = {"model": ctx.source, **ctx.datasets}
    if recipe.surgery:
        sources["model"] = Input.of(operate(ctx, recipe))

    def results(step: Step) -> list[JobResult]:
        one = _run_step(ctx, recipe, recipe.backend, step, sources)
        return [one, *(result for each in step.inputs.values() for result in results(each))]

    return results(backend.steps(recipe))


def operate(ctx: RunContext, recipe: Recipe) -> JobResult:
    """Apply the recipe's surgery to the checkpoint, in the reference backend's environment.

    Recipes with the same surgery share the result.
    """
    sources = {"model": ctx.source, **ctx.datasets}
    return _run_step(ctx, recipe, ctx.reference_backend.NAME, operations.steps(recipe.surgery), sources)


def sensitivity(ctx: RunContext, recipe: Recipe, sources: Mapping[str, Input]) -> JobResult:
    """Measure how much quantizing each weight changes the original. All recipes of all backends share the result.

    Raises NothingToGain where the original's backend cannot tell.
    """
    measured = capability(ctx.reference_backend, SensitivityBackend)
    if measured is None:
        raise NothingToGain(f"{ctx.reference_backend.NAME} does not tell what rounding each weight costs")
    return _run_step(ctx, recipe, ctx.reference_backend.NAME, measured.SENSITIVITY, sources)


def _run_step(
    ctx: RunContext, recipe: Recipe, backend: str, step: Step, sources: Mapping[str, Input]
) -> JobResult:
    if SENSITIVITY in step.reads and SENSITIVITY not in sources:
        sources = {**sources, SENSITIVITY: Input.of(sensitivity(ctx, recipe, sources))}
    inputs = {name: sources[name] for name in step.reads}
    needed = {name: _run_step(ctx, recipe, backend, each, sources) for name, each in step.inputs.items()}
    inputs |= {name: Input.of(result) for name, result in needed.items()}
    on_progress = ctx.announce(recipe, "building", step.call.partition(":")[2])
    result = ctx.run(backend, step.call, step.params, inputs, on_progress=on_progress, links=step.links)
    if reason := result.facts.get("nothing_to_gain"):
        raise NothingToGain(str(reason))
    return result


def size_of_model(model: ModelInfo) -> int:
    """Return the total size of the files that determine the original in bytes, without others in its folder."""
    return sum((model.folder / name).stat().st_size for name in model.files)


def size_of(artifact: JobResult) -> int:
    """Return the total size of an artifact's files in bytes; links count with the size of their targets."""
    return sum(path.stat().st_size for path in artifact.out.rglob("*") if path.is_file())
