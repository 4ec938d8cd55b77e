"""The workers of a Dask cluster: those that build, or those that are a device.

A worker tells by a resource what it is for: `build` builds and scores, any other name is the device that it is. It
takes one job at a time, in a store of its own. Dask finds a free worker, and another one where one dies with a job. A
result counts once it lies in the store here, under its key: whatever was run twice on the way is there once.

dask.distributed is loaded when a cluster is named, and nowhere else.
"""

from __future__ import annotations

import logging
import shutil
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
from edgehone.execution.remote.ssh import AGAIN, settle
from edgehone.execution.source_digest import whole_digest

if TYPE_CHECKING:
    from distributed import Client

BUILD = "build"
PATIENCE_SECONDS = 60.0  # for a worker to come back before a job is given up
_CONNECT_SECONDS = 20
INSTALL = "pip install 'edgehone[cluster]'"


def reply(what: str, given: Mapping[str, Any], data: bytes = b"") -> tuple[dict[str, Any], bytes]:
    """The worker's side: the agent's answer (see `agent.answer`)."""
    return agent.answer(what, given, data, lambda fraction, doing: None)


def task(what: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any], bytes]:
    """The same as a task, with the address of the worker that ran it."""
    from distributed import get_worker

    return get_worker().address, *reply(what, given)


class Gone(Exception):
    """The worker that was spoken to is there no more."""


class Workers:
    """The workers of a cluster that carry a resource."""

    def __init__(self, client: Client, scheduler: str, resource: str) -> None:
        self._client = client
        self.scheduler = scheduler
        self.resource = resource

    def addresses(self) -> list[str]:
        """Those that are there now."""
        return sorted(
            address for address, one in _known(self._client).items() if one["resources"].get(self.resource)
        )

    def ask(
        self,
        address: str,
        what: str,
        given: Mapping[str, Any],
        data: bytes = b"",
        tell: Progress = lambda fraction, doing: None,
    ) -> tuple[Any, bytes]:
        """The answer of one worker, beside whatever it runs. Raises Gone, or SetupError where it cannot."""
        if address not in _known(self._client):
            raise Gone(address)
        try:
            found = self._client.run(reply, what, given, data, workers=[address])[address]
        except (OSError, KeyError) as error:
            raise Gone(address) from error
        return settle(address, found[0]), found[1]

    def each(self, what: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """What every worker answers, as tasks of their own: for what takes long."""
        futures = {
            address: self._client.submit(
                task, what, given, workers=[address], pure=False, key=f"edgehone-{what}-{uuid.uuid4().hex}"
            )
            for address in self.addresses()
        }
        return {a: settle(a, self._wait(future, only=a)[1]) for a, future in futures.items()}

    def fill(self, job: Job, folder: Path, tell: Progress) -> None:
        """Run a job on any of them, and fill our work folder with what it leaves."""
        order = transfer.order(job)
        while True:
            tell(0.0, f"on a worker of {self.scheduler}")
            future = self._client.submit(
                task,
                "run",
                order,
                resources={self.resource: 1},
                pure=False,
                key=f"edgehone-{job.key}-{uuid.uuid4().hex}",
            )
            address, answer, log = self._wait(future)
            told = settle(address, answer)
            try:
                if lacking := told.get("lacking"):
                    for given in job.inputs.values():
                        if given.identity in lacking:
                            transfer.send(self._asking(address), given, tell)
                else:
                    return transfer.settle(self._asking(address), job, (told, log), folder, tell)
            except Gone:
                # Its result went with it, unless it comes back: the job is run again, and counts once.
                for path in folder.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _asking(self, address: str) -> transfer.Ask:
        def ask(
            what: str,
            given: Mapping[str, Any],
            data: bytes = b"",
            tell: Progress = lambda fraction, doing: None,
        ) -> tuple[Any, bytes]:
            return self.ask(address, what, given, data, tell)

        return ask

    def _wait(self, future: Any, only: str | None = None) -> tuple[str, dict[str, Any], bytes]:
        """A task's result; it is run again elsewhere where its worker dies, unless it is for `only` one.

        Raises JobError where workers die of it again and again, SetupError where no worker is left.
        """
        from distributed import KilledWorker

        left = time.monotonic()
        while True:
            try:
                found: tuple[str, dict[str, Any], bytes] = future.result(timeout=1)
            except TimeoutError:
                CHILDREN.check()
                now = time.monotonic()
                there = self.addresses()
                left = now if only in there or (there and not only) else left
                if now - left > PATIENCE_SECONDS:
                    raise SetupError(
                        f"{self.scheduler}: {only or 'every worker'} that carries '{self.resource}' is gone",
                        hint=f"start one (edgehone worker {self.scheduler}), then {AGAIN}",
                    ) from None
            except KilledWorker as error:
                raise JobError(f"every worker that ran it died: {error}") from error
            else:
                return found


def connect(scheduler: str) -> Client:
    """A client of a scheduler. Raises SetupError where it cannot be reached, or Dask is not installed."""
    try:
        from distributed import Client
    except ImportError as error:
        raise SetupError(f"--workers {scheduler}: dask.distributed is not installed", hint=INSTALL) from error
    # Its own words about closing connections say nothing to a person.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        make: Any = Client  # it has no types
        client: Client = make(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False, name="edgehone")
    except (OSError, ValueError, TypeError) as error:
        raise SetupError(
            f"the scheduler {scheduler} cannot be reached: {error}",
            hint="start one: dask scheduler; then name it: --workers tcp://HOST:8786",
        ) from error
    return client


def check(client: Client, scheduler: str, device: str | None) -> bool:
    """Whether any worker builds. Raises SetupError where no worker serves, InputError for a device that none is."""
    carried = {name for one in _known(client).values() for name, count in one["resources"].items() if count}
    devices = sorted(carried - {BUILD})
    if device and device not in devices:
        guess = suggest(device, devices, f"devices: {', '.join(devices)}") if devices else ""
        raise InputError(
            f"no worker of {scheduler} is a '{device}'" + (f"; {guess}" if guess else ""),
            hint=f"on the device: edgehone worker {scheduler} --device {device}",
        )
    if not carried:
        raise SetupError(
            f"{scheduler} has no worker that builds or is a device", hint=f"edgehone worker {scheduler}"
        )
    return BUILD in carried


def facts(workers: Workers) -> dict[str, Any]:
    """What the weakest of them is, since a job may run on any. Raises SetupError where they are not of one kind."""
    told = workers.each("facts", {})
    if not told:
        raise SetupError(
            f"{workers.scheduler}: no worker that carries '{workers.resource}' is left", hint=AGAIN
        )
    ours = whole_digest("edgehone")
    if other := [address for address, one in told.items() if one["source"] != ours]:
        raise SetupError(
            f"another version of edgehone runs on {', '.join(other)}",
            hint="install this one there, and start it again",
        )
    if workers.resource != BUILD and len({one["device"]["fingerprint"] for one in told.values()}) > 1:
        kinds = "; ".join(f"{a}: {one['device']['cpu']}, {one['device']['os']}" for a, one in told.items())
        raise SetupError(
            f"the workers that carry '{workers.resource}' are not one kind of machine: {kinds}",
            hint="give each kind a name of its own",
        )
    return min(
        (one for _, one in sorted(told.items())),
        key=lambda one: (one["device"]["threads"], one["device"]["memory_available_bytes"] or 0),
    )


def ensure(workers: Workers, name: str, module: str, tell: Callable[[str], None]) -> transfer.FarEnv:
    """A backend's environment on each of them. Raises SetupError where one can't make it, or has another."""
    tell(f"on {len(workers.addresses())} workers of {workers.scheduler}")
    told = workers.each("ensure", {"name": name, "module": module})
    if len({one["digest"] for one in told.values()}) > 1:
        raise SetupError(
            f"the environments of {name} differ between the workers {', '.join(sorted(told))}",
            hint="let workers of one platform build, and the others measure (edgehone worker --device NAME)",
        )
    return transfer.far_env(told[min(told)], module)


def _known(client: Client) -> dict[str, Any]:
    known: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return known
