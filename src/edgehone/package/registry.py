"""Find targets by name: those registered in the entry point group `edgehone.targets`."""

from __future__ import annotations

import functools
import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from edgehone.core.errors import InputError, SetupError
from edgehone.core.suggestions import suggest
from edgehone.package.target import Target

GROUP = "edgehone.targets"
REQUIRED = ("NAME", "SUMMARY", "TOOLS", "OPTIONS", "BUDGET", "refuses", "build", "check")


@functools.cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> list[str]:
    """Return the sorted names of all registered targets, built-in ones and plugins."""
    return sorted(_registered())


def load(name: str) -> Target:
    """Load a target. Raises InputError for an unknown name, SetupError for a module that is not a target."""
    if name not in _registered():
        raise InputError(
            f"no target is called '{name}'; {suggest(name, names())}", hint="edgehone package --list"
        )
    value = _registered()[name].value
    try:
        module = importlib.import_module(value)
    except ImportError as error:
        raise SetupError(
            f"the target '{name}' ({value}) cannot be imported: {error}",
            hint=f"reinstall or remove the package that registers '{name}'",
        ) from error
    if missing := [part for part in REQUIRED if part not in vars(module)]:
        raise SetupError(
            f"the target '{name}' ({value}) lacks {', '.join(missing)}",
            hint="edgehone.package.target.Target lists the names that a target's module must define",
        )
    return cast(Target, module)
