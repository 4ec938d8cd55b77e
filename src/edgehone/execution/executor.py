"""Executors run jobs: on this machine, on a host over SSH, or on the workers of a Dask cluster.

`Executor` is the protocol; `LocalExecutor` is this machine. The others are in `remote/`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from edgehone.backends.base import Needs
from edgehone.device.bandwidth import read_bandwidth
from edgehone.device.detect import detect
from edgehone.device.facts import Device
from edgehone.execution.child_process import execute_locally
from edgehone.execution.environments import environment
from edgehone.execution.environments.environment import Env
from edgehone.execution.home import home
from edgehone.execution.job import Job, Progress
from edgehone.execution.worker_process import load_function


class Executor(Protocol):
    """A machine, or a group of equal machines, that runs jobs. Results always go to the store of this machine.

    `name` is shown to users and is '' for this machine. `slots` is the number of jobs that can run at the same time;
    0: as many as the device's cores and memory allow.
    """

    name: str
    device: Device
    slots: int

    def ensure_environment(
        self, name: str, module: str, needs: Needs, on_progress: Callable[[str], None]
    ) -> Env:
        """Return the environment of a backend, installed first if it is missing. Raises SetupError if that fails."""
        ...

    def execute(self, job: Job, folder: Path, on_progress: Progress) -> None:
        """Run a job and put its result into the work folder `folder` of this machine. Raises JobError if it fails."""
        ...

    def call(self, function: str) -> Any:
        """Call a function without arguments, `module:function`, there. Return its result, which must fit into JSON."""
        ...

    def close(self) -> None:
        """Release the machine and the connection to it."""
        ...


class LocalExecutor:
    """This machine. Jobs run in child processes."""

    name = ""
    slots = 0

    def __init__(self) -> None:
        self.device = detect()

    def ensure_environment(
        self, name: str, module: str, needs: Needs, on_progress: Callable[[str], None]
    ) -> Env:
        """Return the environment of a backend, installed first if it is missing."""
        return environment.ensure(name, needs, on_progress)

    def execute(self, job: Job, folder: Path, on_progress: Progress) -> None:
        """Run a job in a child process."""
        execute_locally(job, folder, on_progress)

    def call(self, function: str) -> Any:
        """Call the function in this process."""
        return load_function(function)()

    def close(self) -> None:
        """No-op: nothing was opened."""


def bandwidth() -> dict[str, Any]:
    """Return the memory read bandwidth of this machine, a figure as JSON. It is measured once and stored."""
    return read_bandwidth(detect(), home() / "bandwidth").to_json()
