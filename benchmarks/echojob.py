"""A job that does nothing: what it takes is the jobs' own cost."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)


def echo(job: WorkerJob) -> dict[str, Any]:
    """Give back what was given."""
    return dict(job.args)
