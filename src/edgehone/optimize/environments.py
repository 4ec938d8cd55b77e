"""Install the environments of several backends in parallel. A failed installation does not stop the others."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Mapping

from edgehone.backends import registry
from edgehone.backends.base import Backend
from edgehone.core.errors import SetupError
from edgehone.execution.environments.environment import Env
from edgehone.execution.executor import Executor
from edgehone.execution.processes import CHILDREN


def ensure_environments(
    executor: Executor, backends: Mapping[str, Backend], on_progress: Callable[[str, str], None]
) -> tuple[dict[str, Env], dict[str, SetupError]]:
    """Return the environments that are ready on an executor, and the error of each that could not be installed.

    `on_progress(backend, detail)` receives progress. Backends that share an environment install it once.
    """
    ready: dict[str, Env] = {}
    unready: dict[str, SetupError] = {}
    sharing: dict[str, list[str]] = {}
    for name, backend in backends.items():
        sharing.setdefault(backend.NEEDS.environment or name, []).append(name)

    def ensure(names: list[str]) -> None:
        first = names[0]
        try:
            module, needs = registry.module_name(first), backends[first].NEEDS
            env = executor.ensure_environment(first, module, needs, lambda what: on_progress(first, what))
            ready.update(dict.fromkeys(names, env))
        except SetupError as error:
            for name in names:
                unready[name] = error
                on_progress(name, f"not available: {error.message}")

    # Fill sysconfig's cache in one thread first: CPython 3.11 exposes it half filled to a second thread that reads it
    # meanwhile, and the package of uv reads it.
    sysconfig.get_config_vars()
    with CHILDREN.pool(max(1, len(sharing))) as pool:
        list(pool.map(ensure, sharing.values()))
    return ready, unready
