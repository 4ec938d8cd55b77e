"""Where jobs run: this machine, a host over SSH, or workers of a cluster. One seam, a `Place`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from edgehone.backends.base import Needs
from edgehone.device.bandwidth import read_bandwidth
from edgehone.device.detect import detect
from edgehone.device.facts import Device
from edgehone.execution import job as run
from edgehone.execution.environments import environment
from edgehone.execution.environments.environment import Env
from edgehone.execution.home import home
from edgehone.execution.job import Job, Progress
from edgehone.execution.remote import cluster, ssh, transfer
from edgehone.execution.worker_process import call as function_of


class Executor(Protocol):
    """Where jobs run. What they make comes to the store of this machine, wherever that is."""

    name: str  # as people know it; '' for this machine
    device: Device
    slots: int  # jobs that it can run side by side; 0: as many as the device's cores and memory allow

    def ensure(self, name: str, module: str, needs: Needs, tell: Callable[[str], None]) -> Env:
        """The environment of a backend, made there if it is missing. Raises SetupError if it can't be made."""
        ...

    def fill(self, job: Job, folder: Path, tell: Progress) -> None:
        """Run a job there and fill our work folder with what it leaves. Raises JobError if it fails."""
        ...

    def ask(self, call: str) -> Any:
        """What a function without arguments (`module:function`) returns there; what JSON can hold."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def bandwidth() -> dict[str, Any]:
    """The read bandwidth of the machine that is asked: a figure as JSON, measured once there and then kept."""
    return read_bandwidth(detect(), home() / "bandwidth").to_json()


class LocalExecutor:
    """This machine."""

    name = ""
    slots = 0

    def __init__(self) -> None:
        self.device = detect()

    def ensure(self, name: str, module: str, needs: Needs, tell: Callable[[str], None]) -> Env:
        """Made by this machine."""
        return environment.ensure(name, needs, tell)

    def fill(self, job: Job, folder: Path, tell: Progress) -> None:
        """In a child process."""
        run.fill(job, folder, tell)

    def ask(self, call: str) -> Any:
        """A plain call."""
        return function_of(call)()

    def close(self) -> None:
        """Nothing to let go of."""


class SshExecutor:
    """A host over SSH. It does one thing at a time: it is there to be measured."""

    slots = 1

    def __init__(self, where: ssh.Address, packages: Iterable[str], tell: Progress) -> None:
        """Connect. Raises SetupError if that fails; `packages` are those that its jobs import."""
        self._agent = ssh.Connection(where, packages, tell)
        self.name = self._agent.name
        facts, _ = self._agent.ask("facts", {})
        self.device = Device.from_json(facts["device"])

    def ensure(self, name: str, module: str, needs: Needs, tell: Callable[[str], None]) -> Env:
        """Made by that host, with its own settings of pip and uv."""
        return transfer.ensure(self._agent.ask, name, module, tell)

    def fill(self, job: Job, folder: Path, tell: Progress) -> None:
        """Send what it lacks, run there, fetch the result."""
        order = transfer.order(job)
        while lacking := (answer := self._agent.ask("run", order, tell=tell))[0].get("lacking"):
            for given in job.inputs.values():
                if given.identity in lacking:
                    transfer.send(self._agent.ask, given, tell)
        transfer.settle(self._agent.ask, job, answer, folder, tell)

    def ask(self, call: str) -> Any:
        """The agent calls it."""
        return self._agent.ask("ask", {"call": call})[0]

    def close(self) -> None:
        """End the agent there."""
        self._agent.close()


class ClusterExecutor:
    """Workers of a Dask cluster that carry one resource: those that build, or those that are a device."""

    def __init__(self, workers: cluster.Workers) -> None:
        """Raises SetupError where they are not of one kind, or run another edgehone."""
        self._workers = workers
        building = workers.resource == cluster.BUILD
        self.name = workers.scheduler if building else workers.resource
        self.slots = max(1, len(workers.addresses())) if building else 1
        self.device = Device.from_json(cluster.facts(workers)["device"])

    def ensure(self, name: str, module: str, needs: Needs, tell: Callable[[str], None]) -> Env:
        """Made by each of them."""
        return cluster.ensure(self._workers, name, module, tell)

    def fill(self, job: Job, folder: Path, tell: Progress) -> None:
        """On whichever is free; on another one where that dies."""
        self._workers.fill(job, folder, tell)

    def ask(self, call: str) -> Any:
        """The first of them calls it."""
        return next(iter(self._workers.each("ask", {"call": call}).values()))

    def close(self) -> None:
        """The client is closed by who opened it."""
