"""Which machines a run uses: where it builds and scores, and where it measures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from edgehone.backends import registry
from edgehone.core.errors import InputError
from edgehone.core.events import Emit, Event
from edgehone.execution.executor import Executor, LocalExecutor
from edgehone.execution.remote import cluster, ssh
from edgehone.execution.remote.cluster_executor import ClusterExecutor
from edgehone.execution.remote.ssh_executor import SshExecutor
from edgehone.optimize.options import OptimizeOptions


class Executors(NamedTuple):
    """`workshop` builds and scores, `stand` is the device that is measured."""

    build: Executor
    target: Executor

    @classmethod
    def here(cls) -> Executors:
        """This machine for both."""
        place = LocalExecutor()
        return cls(place, place)


@contextmanager
def open_executors(request: OptimizeOptions, emit: Emit) -> Iterator[Executors]:
    """Connect to what the request names, and let go of it at the end.

    Raises InputError for an address that is none or a device that no worker is, SetupError for a machine that cannot be
    reached or used.
    """
    with ExitStack() as opened:
        here: Executor = LocalExecutor()
        build_executor, target_executor = here, here
        there = (request.device or "").startswith(ssh.SCHEME)
        if request.workers:
            device = None if there else request.device
            build_executor, target_executor = _racks(request, device, here, opened)
        if there:
            target_executor = _host(request, emit)
            opened.callback(target_executor.close)
        yield Executors(build_executor, target_executor)


def _host(request: OptimizeOptions, emit: Emit) -> SshExecutor:
    modules = [registry.module_name(name) for name in request.backends or registry.names()]
    packages = {"edgehone", *(module.partition(".")[0] for module in modules)}
    where = ssh.parse_address(str(request.device))
    return SshExecutor(where, packages, lambda fraction, what: emit(Event("", detail=what)))


def _racks(
    request: OptimizeOptions, device: str | None, here: Executor, opened: ExitStack
) -> tuple[Executor, Executor]:
    """The workers that build, if any do, and those that are the device, if one is named."""
    if request.pictures and Path(request.pictures).is_file():
        raise InputError(
            f"--pictures {request.pictures}: the files that it names are not sent to workers",
            hint="give a folder of pictures, or leave --workers out",
        )
    scheduler = str(request.workers)
    client = cluster.connect(scheduler)
    opened.callback(client.close)
    builds = cluster.has_builders(client, scheduler, device)
    build_executor = ClusterExecutor(cluster.Workers(client, scheduler, cluster.BUILD)) if builds else here
    target_executor = ClusterExecutor(cluster.Workers(client, scheduler, device)) if device else here
    return build_executor, target_executor
