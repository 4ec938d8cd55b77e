"""The backend of a worker's job."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from edgehone.backends.base import Backend
    from edgehone.backends.sessions import WorkerJob


def load_backend(job: WorkerJob) -> Backend:
    """Import and return the backend whose module is named by `job.args["backend"]`."""
    return cast("Backend", importlib.import_module(job.args["backend"]))
