"""A made-up plugin that misunderstood the contract."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)


def devices(job: WorkerJob) -> dict[str, Any]:
    """Something else."""
    return {"devices": ["GPU"], "absent": []}
