"""Open the executors of a run: the one that builds and scores, and the one that is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from edgehone.backends import registry
from edgehone.core.errors import InputError
from edgehone.core.events import Event
from edgehone.execution.executor import Executor, LocalExecutor
from edgehone.execution.remote import cluster, ssh
from edgehone.execution.remote.cluster_executor import ClusterExecutor
from edgehone.execution.remote.ssh_executor import SshExecutor
from edgehone.optimize.options import OptimizeOptions


class Executors(NamedTuple):
    """`build` builds and scores candidates; `target` is the device on which they are measured."""

    build: Executor
    target: Executor

    @classmethod
    def local(cls) -> Executors:
        """Return this machine for both."""
        executor = LocalExecutor()
        return cls(executor, executor)


@contextmanager
def open_executors(options: OptimizeOptions) -> Iterator[Executors]:
    """Connect to the device and the cluster that the options name, and disconnect at the end.

    Raises InputError for an invalid address or a device that no worker has, SetupError for a machine that cannot be
    reached or used.
    """
    with ExitStack() as opened:
        local = LocalExecutor()
        build_executor: Executor = local
        target_executor: Executor = local
        over_ssh = (options.device or "").startswith(ssh.SCHEME)
        if options.workers:
            device = None if over_ssh else options.device
            build_executor, target_executor = _cluster_executors(options, device, local, opened)
        if over_ssh:
            target_executor = _ssh_executor(options)
            opened.callback(target_executor.close)
        yield Executors(build_executor, target_executor)


def _ssh_executor(options: OptimizeOptions) -> SshExecutor:
    modules = [registry.module_name(name) for name in options.backends or registry.names()]
    packages = {"edgehone", *(module.partition(".")[0] for module in modules)}
    address = ssh.parse_address(str(options.device))
    return SshExecutor(address, packages, lambda fraction, what: options.emit(Event("", detail=what)))


def _cluster_executors(
    options: OptimizeOptions, device: str | None, local: Executor, opened: ExitStack
) -> tuple[Executor, Executor]:
    """Return the workers that build (this machine if there are none) and those of the device, if one is named."""
    if options.pictures and Path(options.pictures).is_file():
        raise InputError(
            f"--pictures {options.pictures}: the files that it names are not sent to workers",
            hint="give a folder of pictures, or leave --workers out",
        )
    scheduler = str(options.workers)
    client = cluster.connect(scheduler)
    opened.callback(client.close)
    builds = cluster.has_builders(client, scheduler, device)
    build_executor = ClusterExecutor(cluster.Workers(client, scheduler, cluster.BUILD)) if builds else local
    target_executor = ClusterExecutor(cluster.Workers(client, scheduler, device)) if device else local
    return build_executor, target_executor
