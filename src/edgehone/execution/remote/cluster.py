"""The workers of a Dask cluster.

The resource of a worker says what it is for: `build` builds and scores, any other name is the device that the worker
is. A worker runs one job at a time and has a store of its own. Dask chooses a free worker, and another one if a
worker dies while it runs a job. A result counts when it is in the store of this machine, under its key, so a job that
ran twice counts once.

dask.distributed is imported only when a cluster is used.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError, JobError, SetupError
from edgehone.core.suggestions import suggest
from edgehone.execution.job import Job, Progress
from edgehone.execution.processes import CHILDREN
from edgehone.execution.remote import agent, transfer
from edgehone.execution.remote.ssh import value_of
from edgehone.execution.remote.ssh_errors import RUN_AGAIN
from edgehone.execution.source_digest import whole_digest

if TYPE_CHECKING:
    from distributed import Client

BUILD = "build"
# How long no worker of a resource may be connected before a job is given up.
PATIENCE_SECONDS = 60.0
_CONNECT_SECONDS = 20
INSTALL = "pip install 'edgehone[cluster]'"


def serve(method: str, params: Mapping[str, Any], data: bytes = b"") -> tuple[dict[str, Any], bytes]:
    """Serve a request in a worker (`agent.handle`)."""
    return agent.handle(method, params, data, lambda fraction, doing: None)


def serve_as_task(method: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any], bytes]:
    """Serve a request as a Dask task. Return also the address of the worker that ran it."""
    from distributed import get_worker

    return get_worker().address, *serve(method, params)


class WorkerLost(Exception):
    """The worker that a request was sent to is no longer connected."""


class Workers:
    """The workers of a cluster that have a resource."""

    def __init__(self, client: Client, scheduler: str, resource: str) -> None:
        self._client = client
        self.scheduler = scheduler
        self.resource = resource

    def addresses(self) -> list[str]:
        """Return the addresses of the workers that are connected now."""
        return sorted(
            address
            for address, worker in _connected(self._client).items()
            if worker["resources"].get(self.resource)
        )

    def request_all(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request to every worker, as a task that may take long. Return the values by address."""
        futures = {
            address: self._client.submit(
                serve_as_task,
                method,
                params,
                workers=[address],
                pure=False,
                key=f"edgehone-{method}-{uuid.uuid4().hex}",
            )
            for address in self.addresses()
        }
        return {a: value_of(a, self._wait(future, only=a)[1]) for a, future in futures.items()}

    def execute(self, job: Job, folder: Path, on_progress: Progress) -> None:
        """Run a job on any of the workers and put its result into the work folder `folder` of this machine."""
        message = transfer.job_message(job)
        sent: dict[str, set[str]] = {}  # by the address of the worker
        while True:
            on_progress(0.0, f"on a worker of {self.scheduler}")
            future = self._client.submit(
                serve_as_task,
                "run_job",
                message,
                resources={self.resource: 1},
                pure=False,
                key=f"edgehone-{job.key}-{uuid.uuid4().hex}",
            )
            address, reply, log = self._wait(future)
            value = value_of(address, reply)
            request = self._request_to(address)
            try:
                if missing := value.get("missing"):
                    transfer.send_missing(request, job, missing, sent.setdefault(address, set()), on_progress)
                else:
                    return transfer.fetch_result(request, job, (value, log), folder, on_progress)
            except WorkerLost:
                # The result is lost with the worker unless it reconnects. The job runs again, and counts once.
                for path in folder.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _request_to(self, address: str) -> transfer.Request:
        """Return a function that sends requests to one worker, which serves them beside a running task."""

        def request(
            method: str,
            params: Mapping[str, Any],
            data: bytes = b"",
            on_progress: Progress = lambda fraction, doing: None,
        ) -> tuple[Any, bytes]:
            if address not in _connected(self._client):
                raise WorkerLost(address)
            try:
                reply, reply_data = self._client.run(serve, method, params, data, workers=[address])[address]
            except (OSError, KeyError) as error:
                raise WorkerLost(address) from error
            return value_of(address, reply), reply_data

        return request

    def _wait(self, future: Any, only: str | None = None) -> tuple[str, dict[str, Any], bytes]:
        """Wait for the result of a task. If its worker dies, Dask runs it on another one, unless it is for `only` one.

        Raises JobError if several workers died with the task, SetupError if no worker is left.
        """
        from distributed import KilledWorker

        # Not future.result(timeout=…): in Python 3.11, a timeout can end as a CancelledError that Dask does not expect.
        finished = threading.Event()
        future.add_done_callback(lambda _: finished.set())
        last_connected = time.monotonic()
        while not finished.wait(timeout=1):
            CHILDREN.check()
            addresses = self.addresses()
            if only in addresses or (addresses and not only):
                last_connected = time.monotonic()
            if time.monotonic() - last_connected > PATIENCE_SECONDS:
                lost = f"the worker {only}" if only else f"every worker with the resource '{self.resource}'"
                raise SetupError(
                    f"{self.scheduler}: {lost} is gone",
                    hint=f"start one (edgehone worker {self.scheduler}), then {RUN_AGAIN}",
                )
        try:
            result: tuple[str, dict[str, Any], bytes] = future.result()
        except KilledWorker as error:
            raise JobError(f"every worker that ran it died: {error}") from error
        return result


def connect(scheduler: str) -> Client:
    """Return a client of a scheduler. Raises SetupError if it cannot be reached or Dask is not installed."""
    try:
        from distributed import Client
    except ImportError as error:
        raise SetupError(f"--workers {scheduler}: dask.distributed is not installed", hint=INSTALL) from error
    # Its messages about closing connections are of no use to the user.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        make_client: Any = Client  # it has no type annotations
        client: Client = make_client(
            scheduler, timeout=_CONNECT_SECONDS, set_as_default=False, name="edgehone"
        )
    except (OSError, ValueError, TypeError) as error:
        raise SetupError(
            f"the scheduler {scheduler} cannot be reached: {error}",
            hint="start one: dask scheduler; then name it: --workers tcp://HOST:8786",
        ) from error
    return client


def has_builders(client: Client, scheduler: str, device: str | None) -> bool:
    """Return True if a worker builds.

    Raises SetupError if no worker has a resource, InputError if `device` is given and no worker is that device.
    """
    resources = {
        name for worker in _connected(client).values() for name, count in worker["resources"].items() if count
    }
    devices = sorted(resources - {BUILD})
    if device and device not in devices:
        guess = suggest(device, devices, f"devices: {', '.join(devices)}") if devices else ""
        raise InputError(
            f"no worker of {scheduler} is a '{device}'{f'; {guess}' if guess else ''}",
            hint=f"on the device: edgehone worker {scheduler} --device {device}",
        )
    if not resources:
        raise SetupError(
            f"{scheduler} has no worker that builds or is a device", hint=f"edgehone worker {scheduler}"
        )
    return BUILD in resources


def describe_weakest(workers: Workers) -> dict[str, Any]:
    """Return the description of the weakest of the workers (`describe_machine`), since a job may run on any of them.

    Raises SetupError if they are not of one kind or run another version of edgehone.
    """
    machines = workers.request_all("describe_machine", {})
    if not machines:
        raise SetupError(
            f"{workers.scheduler}: no worker with the resource '{workers.resource}' is left", hint=RUN_AGAIN
        )
    expected = whole_digest("edgehone")
    if other := [address for address, one in machines.items() if one["source"] != expected]:
        raise SetupError(
            f"another version of edgehone runs on {', '.join(other)}",
            hint="install this version there, and start the worker again",
        )
    if workers.resource != BUILD and len({one["device"]["fingerprint"] for one in machines.values()}) > 1:
        kinds = "; ".join(
            f"{a}: {one['device']['cpu']}, {one['device']['os']}" for a, one in machines.items()
        )
        raise SetupError(
            f"the workers with the resource '{workers.resource}' are not one kind of machine: {kinds}",
            hint="give each kind of machine a name of its own",
        )
    return min(
        (one for _, one in sorted(machines.items())),
        key=lambda one: (one["device"]["threads"], one["device"]["memory_available_bytes"] or 0),
    )


def ensure_environment(
    workers: Workers, name: str, module: str, on_progress: Callable[[str], None]
) -> transfer.RemoteEnv:
    """Return a backend's environment, installed on each worker. Raises SetupError if that fails or they differ."""
    on_progress(f"on {len(workers.addresses())} workers of {workers.scheduler}")
    replies = workers.request_all("ensure_environment", {"name": name, "module": module})
    if len({one["digest"] for one in replies.values()}) > 1:
        raise SetupError(
            f"the environments of {name} differ between the workers {', '.join(sorted(replies))}",
            hint="let workers of one platform build, and the others measure (edgehone worker --device NAME)",
        )
    return transfer.remote_env(replies[min(replies)], module)


def _connected(client: Client) -> dict[str, Any]:
    workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return workers
