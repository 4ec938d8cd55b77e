"""Build a recipe: its steps as jobs, each shared step once."""

from __future__ import annotations

from collections.abc import Mapping

from edgehone.backends.base import Recipe, Step
from edgehone.errors import NothingToGain
from edgehone.jobs.run import Input
from edgehone.jobs.store import JobResult
from edgehone.stages.bench import Bench
from edgehone.surgery import operations

SENSITIVITY = "sensitivity"


def build(bench: Bench, recipe: Recipe) -> JobResult:
    """The artifact of a recipe: the job of its last step, after all that it needs.

    Raises JobError of whichever step failed, NothingToGain of one that found nothing to work on (it returned the
    fact `nothing_to_gain`: why).
    """
    backend = bench.origin if recipe.backend == bench.origin.NAME else bench.backends[recipe.backend]
    given = {"model": bench.source, **bench.texts}
    if recipe.surgery:
        given["model"] = Input.of(operate(bench, recipe))
    return _make(bench, recipe, recipe.backend, backend.steps(recipe), given)


def seconds(bench: Bench, recipe: Recipe) -> float:
    """What all steps of a built recipe took when they ran; one that several recipes share counts for each."""
    backend = bench.origin if recipe.backend == bench.origin.NAME else bench.backends[recipe.backend]
    given = {"model": bench.source, **bench.texts}
    if recipe.surgery:
        given["model"] = Input.of(operate(bench, recipe))

    def took(step: Step) -> float:
        # Each is in the store, so nothing runs.
        return _make(bench, recipe, recipe.backend, step, given).seconds + sum(
            map(took, step.inputs.values())
        )

    return took(backend.steps(recipe))


def operate(bench: Bench, recipe: Recipe) -> JobResult:
    """The checkpoint after the recipe's surgery, shared by all recipes with the same; in the origin's environment."""
    given = {"model": bench.source, **bench.texts}
    return _make(bench, recipe, bench.origin.NAME, operations.steps(recipe.surgery), given)


def sensitivity(bench: Bench, recipe: Recipe, given: Mapping[str, Input]) -> JobResult:
    """What rounding each weight costs, shared by all recipes of all backends that spend bytes by it.

    Raises NothingToGain where the original's backend cannot tell.
    """
    step: Step | None = getattr(bench.origin, "SENSITIVITY", None)
    if step is None:
        raise NothingToGain(f"{bench.origin.NAME} does not tell what rounding each weight costs")
    return _make(bench, recipe, bench.origin.NAME, step, given)


def _make(bench: Bench, recipe: Recipe, backend: str, step: Step, given: Mapping[str, Input]) -> JobResult:
    if SENSITIVITY in step.reads and SENSITIVITY not in given:
        given = {**given, SENSITIVITY: Input.of(sensitivity(bench, recipe, given))}
    inputs = {name: given[name] for name in step.reads}
    needed = {name: _make(bench, recipe, backend, each, given) for name, each in step.inputs.items()}
    inputs |= {name: Input.of(made) for name, made in needed.items()}
    tell = bench.tell(recipe, "building", step.call.partition(":")[2])
    made = bench.run(backend, step.call, step.params, inputs, tell=tell, links=step.links)
    if nothing := made.facts.get("nothing_to_gain"):
        raise NothingToGain(str(nothing))
    return made


def size_of(artifact: JobResult) -> int:
    """Bytes of all files of an artifact; links count as what they point to."""
    return sum(path.stat().st_size for path in artifact.out.rglob("*") if path.is_file())
