"""Find backends by name: those registered in the entry point group `edgehone.backends`."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import cast

from edgehone.backends.base import Backend
from edgehone.core import plugins
from edgehone.core.distributions import EntryPoint, entry_points

GROUP = "edgehone.backends"
REQUIRED = ("NAME", "NEEDS", "REFERENCE", "supports", "recipes", "steps", "open_session")
_KIND = plugins.Kind("backend", "edgehone backends", "edgehone.backends.base.Backend", REQUIRED)


@functools.cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(GROUP)}


def names() -> list[str]:
    """Return the sorted names of all registered backends, built-in ones and plugins."""
    return sorted(_registered())


def module_name(name: str) -> str:
    """Return the name of a backend's module, which workers import. Raises InputError for an unknown name."""
    return plugins.module_name(_KIND, _registered(), name)


def load(name: str) -> Backend:
    """Load a backend. Raises InputError for an unknown name, SetupError for a module that is not a backend."""
    return cast(Backend, plugins.load(_KIND, _registered(), name))


def load_all(only: Iterable[str] | None = None) -> dict[str, Backend]:
    """Load all backends, or those in `only`, by name and in that order."""
    return {name: load(name) for name in (names() if only is None else only)}
