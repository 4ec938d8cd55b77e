"""A made-up runtime whose driver is broken."""

from __future__ import annotations

from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)


def devices(job: WorkerJob) -> dict[str, Any]:
    """Fail."""
    raise RuntimeError("the driver is out of its mind")
