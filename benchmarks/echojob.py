"""A job that does nothing, to measure the overhead of a job."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)


def echo(job: WorkerJob) -> dict[str, Any]:
    """Return the arguments."""
    return dict(job.args)
