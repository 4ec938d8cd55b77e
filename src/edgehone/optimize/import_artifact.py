"""Import an artifact that was built elsewhere: link its files, in a job like any build."""

from __future__ import annotations

from pathlib import Path

from edgehone.backends.base import (
    Recipe,
)
from edgehone.backends.capabilities import SingleFileArtifact, capability
from edgehone.core.errors import InputError
from edgehone.execution.job import Input
from edgehone.execution.store import JobResult
from edgehone.model.digest import digest_file, digest_folder
from edgehone.optimize.context import RunContext


def import_artifact(ctx: RunContext, recipe: Recipe, path: Path) -> JobResult:
    """Import the artifact at `path`, identified by the digest of its content.

    A lone file gets the name that the backend declares as ARTIFACT_FILE, else it keeps its own. Raises InputError
    for what is not there or empty.
    """
    backend = ctx.backends[recipe.backend]
    digests = digest_folder(path) if path.is_dir() else {path.name: digest_file(path)}
    if not digests:
        raise InputError(f"{path} is an empty folder", hint="give the folder of an artifact, or a bundle")
    single = capability(backend, SingleFileArtifact)
    name = single.ARTIFACT_FILE if single else path.name
    content = "\n".join(f"{name}\0{digest}" for name, digest in digests.items())
    given = Input(path.resolve(), content)
    return ctx.run(
        recipe.backend,
        "edgehone.worker.link_artifact:link",
        {"name": name},
        {"artifact": given},
        links=True,
    )
