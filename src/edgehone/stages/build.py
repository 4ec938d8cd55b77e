"""Build a recipe: its steps as jobs, each shared step once."""

from __future__ import annotations

from edgehone.backends.base import Recipe, Step
from edgehone.jobs.run import Input
from edgehone.jobs.store import JobResult
from edgehone.stages.bench import Bench


def build(bench: Bench, recipe: Recipe) -> JobResult:
    """The artifact of a recipe: the job of its last step, after all that it needs.

    Raises JobError of whichever step failed.
    """
    backend = bench.origin if recipe.backend == bench.origin.NAME else bench.backends[recipe.backend]
    return _make(bench, recipe, backend.steps(recipe))


def _make(bench: Bench, recipe: Recipe, step: Step) -> JobResult:
    given = {"model": bench.source, **bench.texts}
    inputs = {name: given[name] for name in step.reads}
    inputs |= {name: Input.of(_make(bench, recipe, needed)) for name, needed in step.inputs.items()}
    tell = bench.tell(recipe, "building", step.call.partition(":")[2])
    return bench.run(recipe.backend, step.call, step.params, inputs, tell=tell, links=step.links)


def size_of(artifact: JobResult) -> int:
    """Bytes of all files of an artifact; links count as what they point to."""
    return sum(path.stat().st_size for path in artifact.out.rglob("*") if path.is_file())
