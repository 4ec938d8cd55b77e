"""Run jobs on a host over SSH."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edgehone.backends.base import Needs
from edgehone.device.facts import Device
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Job, Progress
from edgehone.execution.remote import ssh, transfer


class SshExecutor:
    """A host over SSH. It runs one job at a time, because it is there to be measured."""

    slots = 1

    def __init__(self, address: ssh.Address, packages: Iterable[str], on_progress: Progress) -> None:
        """Connect to the host. `packages` are the packages that its jobs import. Raises SetupError if that fails."""
        self.connection = ssh.Connection(address, packages, on_progress)
        self.name = self.connection.name
        machine, _ = self.connection.request("describe_machine", {})
        self.device = Device.from_json(machine["device"])

    def ensure_environment(
        self, name: str, module: str, needs: Needs, on_progress: Callable[[str], None]
    ) -> Env:
        """Return the environment of a backend, installed by the host with its own settings of pip and uv."""
        return transfer.ensure_environment(self.connection.request, name, module, on_progress)

    def execute(self, job: Job, folder: Path, on_progress: Progress) -> None:
        """Send the inputs that the host lacks, run the job there, and fetch its result."""
        request = self.connection.request
        message = transfer.job_message(job)
        sent: set[str] = set()
        while missing := (reply := request("run_job", message, on_progress=on_progress))[0].get("missing"):
            transfer.send_missing(request, job, missing, sent, on_progress)
        transfer.fetch_result(request, job, reply, folder, on_progress)

    def call(self, function: str) -> Any:
        """Call the function on the host."""
        return self.connection.request("call_function", {"function": function})[0]

    def close(self) -> None:
        """Close the connection, which ends the agent on the host."""
        self.connection.close()
