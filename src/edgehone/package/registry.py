"""Find targets by name: those registered in the entry point group `edgehone.targets`."""

from __future__ import annotations

import functools
from typing import cast

from edgehone.core import plugins
from edgehone.core.distributions import EntryPoint, entry_points
from edgehone.package.target import Target

GROUP = "edgehone.targets"
REQUIRED = ("NAME", "SUMMARY", "TOOLS", "OPTIONS", "BUDGET", "refuses", "build", "check")
_KIND = plugins.Kind("target", "edgehone package --list", "edgehone.package.target.Target", REQUIRED)


@functools.cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(GROUP)}


def names() -> list[str]:
    """Return the sorted names of all registered targets, built-in ones and plugins."""
    return sorted(_registered())


def load(name: str) -> Target:
    """Load a target. Raises InputError for an unknown name, SetupError for a module that is not a target."""
    return cast(Target, plugins.load(_KIND, _registered(), name))
