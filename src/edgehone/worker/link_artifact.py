"""Import an artifact by links to its files, so that it stays where it is."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import WorkerJob


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
