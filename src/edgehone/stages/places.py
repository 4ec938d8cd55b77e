"""Which machines a run uses: where it builds and scores, and where it measures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from edgehone.backends import registry
from edgehone.events import Emit, Event
from edgehone.jobs.far import ssh
from edgehone.jobs.place import Here, Host, Place
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

    Raises InputError for an address that is none, SetupError for a machine that cannot be reached or used.
    """
    if not (request.device or "").startswith(ssh.SCHEME):
        yield Places.here()
        return
    modules = [registry.module_name(name) for name in request.backends or registry.names()]
    packages = {"edgehone", *(module.partition(".")[0] for module in modules)}
    host = Host(
        ssh.address(str(request.device)), packages, lambda fraction, what: emit(Event("", detail=what))
    )
    try:
        yield Places(Here(), host)
    finally:
        host.close()
