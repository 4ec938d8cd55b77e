"""Run jobs on the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgehone.backends.base import Needs
from edgehone.device.facts import Device
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Job, Progress
from edgehone.execution.remote import cluster


class ClusterExecutor:
    """The workers of a Dask cluster that have one resource: those that build, or those that are one kind of device."""

    def __init__(self, workers: cluster.Workers) -> None:
        """Raises SetupError if the workers are not of one kind or run another version of edgehone."""
        self._workers = workers
        building = workers.resource == cluster.BUILD
        self.name = workers.scheduler if building else workers.resource
        self.slots = max(1, len(workers.addresses())) if building else 1
        self.device = Device.from_json(cluster.describe_weakest(workers)["device"])

    def ensure_environment(
        self, name: str, module: str, needs: Needs, on_progress: Callable[[str], None]
    ) -> Env:
        """Return the environment of a backend, installed on each of the workers."""
        return cluster.ensure_environment(self._workers, name, module, on_progress)

    def execute(self, job: Job, folder: Path, on_progress: Progress) -> None:
        """Run a job on a worker that is free, and on another one if that worker dies."""
        self._workers.execute(job, folder, on_progress)

    def call(self, function: str) -> Any:
        """Call the function on every worker, and return the result of the first."""
        return next(iter(self._workers.request_all("call_function", {"function": function}).values()))

    def close(self) -> None:
        """No-op: the client of the cluster is closed by the code that opened it."""
