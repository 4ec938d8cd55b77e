"""Environments of several backends, made side by side: one that can't be made does not stop the others."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Mapping

from edgehone.backends.base import Backend
from edgehone.errors import SetupError
from edgehone.jobs import environments
from edgehone.jobs.environments import Env
from edgehone.jobs.processes import CHILDREN


def make_all(
    backends: Mapping[str, Backend], tell: Callable[[str, str], None]
) -> tuple[dict[str, Env], dict[str, SetupError]]:
    """The environments that are ready now, and why the others could not be made.

    `tell(backend, what)` hears the progress.
    """
    ready: dict[str, Env] = {}
    unready: dict[str, SetupError] = {}

    def make(name: str) -> None:
        try:
            ready[name] = environments.ensure(name, backends[name].NEEDS, lambda what: tell(name, what))
        except SetupError as error:
            unready[name] = error
            tell(name, f"not available: {error.message}")

    # Filled here, by one thread: CPython 3.11 shows them half filled to a second that asks meanwhile, and uv's
    # own package asks.
    sysconfig.get_config_vars()
    with CHILDREN.pool(max(1, len(backends))) as pool:
        list(pool.map(make, backends))
    return ready, unready
