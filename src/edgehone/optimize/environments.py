"""Environments of several backends, made side by side: one that can't be made does not stop the others."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Mapping

from edgehone.backends import registry
from edgehone.backends.base import Backend
from edgehone.core.errors import SetupError
from edgehone.execution.environments.environment import Env
from edgehone.execution.executor import Executor
from edgehone.execution.processes import CHILDREN


def make_all(
    place: Executor, backends: Mapping[str, Backend], tell: Callable[[str, str], None]
) -> tuple[dict[str, Env], dict[str, SetupError]]:
    """The environments that are ready at a place now, and why the others could not be made.

    `tell(backend, what)` hears the progress. Backends that share an environment wait for one making of it.
    """
    ready: dict[str, Env] = {}
    unready: dict[str, SetupError] = {}
    sharing: dict[str, list[str]] = {}
    for name, backend in backends.items():
        sharing.setdefault(backend.NEEDS.environment or name, []).append(name)

    def make(names: list[str]) -> None:
        first = names[0]
        try:
            module, needs = registry.module_name(first), backends[first].NEEDS
            made = place.ensure_environment(first, module, needs, lambda what: tell(first, what))
            ready.update(dict.fromkeys(names, made))
        except SetupError as error:
            for name in names:
                unready[name] = error
                tell(name, f"not available: {error.message}")

    # Filled here, by one thread: CPython 3.11 shows them half filled to a second that asks meanwhile, and uv's
    # own package asks.
    sysconfig.get_config_vars()
    with CHILDREN.pool(max(1, len(sharing))) as pool:
        list(pool.map(make, sharing.values()))
    return ready, unready
