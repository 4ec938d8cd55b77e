"""Which machines a run uses: where it builds and scores, and where it measures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from edgehone.backends import registry
from edgehone.errors import InputError
from edgehone.events import Emit, Event
from edgehone.jobs.far import cluster, ssh
from edgehone.jobs.place import Here, Host, Place, Rack
from edgehone.stages.request import Request


class Places(NamedTuple):
    """`workshop` builds and scores, `stand` is the device that is measured."""

    workshop: Place
    stand: Place

    @classmethod
    def here(cls) -> Places:
        """This machine for both."""
        place = Here()
        return cls(place, place)


@contextmanager
def places(request: Request, emit: Emit) -> Iterator[Places]:
    """Connect to what the request names, and let go of it at the end.

    Raises InputError for an address that is none or a device that no worker is, SetupError for a machine that cannot be
    reached or used.
    """
    with ExitStack() as opened:
        here: Place = Here()
        workshop, stand = here, here
        there = (request.device or "").startswith(ssh.SCHEME)
        if request.workers:
            device = None if there else request.device
            workshop, stand = _racks(request, device, here, opened)
        if there:
            stand = _host(request, emit)
            opened.callback(stand.close)
        yield Places(workshop, stand)


def _host(request: Request, emit: Emit) -> Host:
    modules = [registry.module_name(name) for name in request.backends or registry.names()]
    packages = {"edgehone", *(module.partition(".")[0] for module in modules)}
    where = ssh.address(str(request.device))
    return Host(where, packages, lambda fraction, what: emit(Event("", detail=what)))


def _racks(request: Request, device: str | None, here: Place, opened: ExitStack) -> tuple[Place, Place]:
    """The workers that build, if any do, and those that are the device, if one is named."""
    if request.pictures and Path(request.pictures).is_file():
        raise InputError(
            f"--pictures {request.pictures}: the files that it names are not sent to workers",
            hint="give a folder of pictures, or leave --workers out",
        )
    scheduler = str(request.workers)
    client = cluster.connect(scheduler)
    opened.callback(client.close)
    builds = cluster.check(client, scheduler, device)
    workshop = Rack(cluster.Workers(client, scheduler, cluster.BUILD)) if builds else here
    stand = Rack(cluster.Workers(client, scheduler, device)) if device else here
    return workshop, stand
