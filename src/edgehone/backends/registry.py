"""Find backends by name: those registered in the entry point group `edgehone.backends`."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from edgehone.backends.base import Backend
from edgehone.core.errors import InputError, SetupError
from edgehone.core.suggestions import suggest

GROUP = "edgehone.backends"
REQUIRED = ("NAME", "NEEDS", "REFERENCE", "supports", "recipes", "steps", "open_session")


@functools.cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> list[str]:
    """Return the sorted names of all registered backends, built-in ones and plugins."""
    return sorted(_registered())


def module_name(name: str) -> str:
    """Return the name of a backend's module, which workers import. Raises InputError for an unknown name."""
    _check_name(name)
    return _registered()[name].value


def load(name: str) -> Backend:
    """Load a backend. Raises InputError for an unknown name, SetupError for a module that is not a backend."""
    _check_name(name)
    target = _registered()[name].value
    try:
        module = importlib.import_module(target)
    except ImportError as error:
        raise SetupError(
            f"the backend '{name}' ({target}) cannot be imported: {error}",
            hint=f"reinstall or remove the package that registers '{name}'",
        ) from error
    if missing := [part for part in REQUIRED if part not in vars(module)]:
        raise SetupError(
            f"the backend '{name}' ({target}) lacks {', '.join(missing)}",
            hint="edgehone.backends.base.Backend lists the names that a backend's module must define",
        )
    return cast(Backend, module)


def load_all(only: Iterable[str] | None = None) -> dict[str, Backend]:
    """Load all backends, or those in `only`, by name and in that order."""
    return {name: load(name) for name in (names() if only is None else only)}


def _check_name(name: str) -> None:
    if name in _registered():
        return
    guess = suggest(name, names(), "")
    raise InputError(
        f"no backend is called '{name}'" + (f"; {guess}" if guess else ""), hint="edgehone backends"
    )
