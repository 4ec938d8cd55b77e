"""Backends by name: whatever is registered under the entry point group `edgehone.backends`."""

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
    """All registered names, the built-in ones and those of plugins, sorted."""
    return sorted(_registered())


def module_name(name: str) -> str:
    """The module that holds a backend: what a worker imports."""
    _known(name)
    return _registered()[name].value


def load(name: str) -> Backend:
    """One backend. InputError for an unknown name, SetupError for a module that is not a backend."""
    _known(name)
    target = _registered()[name].value
    try:
        module = importlib.import_module(target)
    except ImportError as error:
        raise SetupError(
            f"the backend '{name}' ({target}) cannot be imported: {error}",
            hint=f"reinstall or remove the package that registers '{name}'",
        ) from error
    lacking = [part for part in REQUIRED if not hasattr(module, part)]
    if lacking:
        raise SetupError(
            f"the backend '{name}' ({target}) lacks {', '.join(lacking)}",
            hint="see edgehone.backends.base.Backend for what a backend's module must have",
        )
    return cast(Backend, module)


def load_all(only: Iterable[str] | None = None) -> dict[str, Backend]:
    """Backends by name, all or the named ones, in the given order."""
    return {name: load(name) for name in (names() if only is None else only)}


def _known(name: str) -> None:
    if name in _registered():
        return
    guess = suggest(name, names(), "")
    raise InputError(
        f"no backend is called '{name}'" + (f"; {guess}" if guess else ""), hint="edgehone backends"
    )
