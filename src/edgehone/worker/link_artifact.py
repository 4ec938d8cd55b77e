"""Import an artifact by linking to its files, which stay where they are (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import WorkerJob


def link(job: WorkerJob) -> dict[str, Any]:
    """Fill the folder with links to inputs["artifact"].

    args: name (of the link, if the artifact is a single file). inputs: artifact (a file or folder).
    """
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
