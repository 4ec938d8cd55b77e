"""Adopt an artifact that something else built: links to its files, as a job like any build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgehone.backends.base import Recipe, WorkerJob
from edgehone.errors import InputError
from edgehone.jobs.run import Input
from edgehone.jobs.store import JobResult
from edgehone.model.digest import digest_file, digest_folder
from edgehone.stages.bench import Bench


def adopt(bench: Bench, recipe: Recipe, path: Path) -> JobResult:
    """The artifact at `path`, named by the digest of its content.

    A lone file gets the name that the backend's module calls ARTIFACT, else it keeps its own. Raises InputError
    for what is not there or empty.
    """
    backend = bench.backends[recipe.backend]
    digests = digest_folder(path) if path.is_dir() else {path.name: digest_file(path)}
    if not digests:
        raise InputError(f"{path} is an empty folder", hint="give the folder of an artifact, or a bundle")
    name = getattr(backend, "ARTIFACT", path.name)
    content = "\n".join(f"{name}\0{digest}" for name, digest in digests.items())
    given = Input(path.resolve(), content)
    return bench.run(
        recipe.backend, "edgehone.stages.adopt:link", {"name": name}, {"artifact": given}, links=True
    )


def link(job: WorkerJob) -> dict[str, Any]:
    """Fill the folder with links to the files of `job.inputs["artifact"]` (worker side). args: name."""
    source = job.inputs["artifact"]
    if source.is_file():
        (job.out / job.args["name"]).symlink_to(source)
        return {}
    for path in sorted(source.rglob("*")):
        target = job.out / path.relative_to(source)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.symlink_to(path)
    return {}
