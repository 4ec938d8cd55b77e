"""Verbs by name: the modules registered under the entry point group `edgehone.verbs`.

The built-in verbs and those of third parties are registered in the same way. A verb's module has a docstring, EXAMPLE,
`add_arguments(parser)` and `run(args) -> exit code`. It is imported only when its verb is run. The list of verbs takes
each summary, the first line of the docstring, from the module's source text, so that `edgehone --help` imports none.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from edgehone.core.distributions import entry_points
from edgehone.core.errors import SetupError

if TYPE_CHECKING:
    import argparse

GROUP = "edgehone.verbs"
_REQUIRED = ("EXAMPLE", "add_arguments", "run")
_SUMMARY = re.compile(r'\s*(?:#[^\n]*\n\s*)*[rRuU]?("""|\'\'\'|"|\')(.+?)(?:\1|\n|$)')


class VerbModule(Protocol):
    """What the module of a verb must have, besides a docstring."""

    EXAMPLE: str

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class Verb(NamedTuple):
    """A registered verb: its module, and the distribution that registers it."""

    module: str
    distribution: str


@functools.cache
def registered() -> dict[str, Verb]:
    """Return the verbs by name, sorted. A name that several distributions register stays with edgehone's own verb.

    Raises SetupError if there are none, which happens if edgehone was installed before its verbs were entry points.
    """
    found = {
        point.name: Verb(point.value, point.distribution)
        # edgehone's own verbs come last, so that they replace others of the same name.
        for point in sorted(entry_points(GROUP), key=lambda point: point.value.startswith("edgehone."))
    }
    if not found:
        raise SetupError(
            f"no verbs are registered under the entry point group {GROUP}", hint="pip install --editable ."
        )
    return dict(sorted(found.items()))


def load(name: str) -> VerbModule:
    """Import the module of a registered verb. Raises SetupError if that fails or the module lacks a required name."""
    verb = registered()[name]
    try:
        module = importlib.import_module(verb.module)
    except Exception as error:
        raise SetupError(
            f"the verb '{name}' ({verb.module}) cannot be imported: {type(error).__name__}: {error}",
            hint=f"reinstall or remove {verb.distribution}, the package that registers it",
        ) from error
    if missing := [part for part in _REQUIRED if not hasattr(module, part)]:
        raise SetupError(
            f"the verb '{name}' ({verb.module}) lacks {', '.join(missing)}",
            hint=f"update or remove {verb.distribution}, the package that registers it",
        )
    return cast(VerbModule, module)


def summary(name: str) -> str:
    """Return the first line of the docstring of a verb's module, read from its source without importing it."""
    verb = registered()[name]
    path = _source(verb.module)
    if path is None:
        return f"(broken: {verb.module} of {verb.distribution} is not found)"
    with path.open(encoding="utf-8", errors="replace") as file:
        first_sentence = _SUMMARY.match(file.read(4096))
    return first_sentence[2].strip().removesuffix(".") if first_sentence else ""


def _source(module: str) -> Path | None:
    """Return the path of a module's source, or None. Unlike importlib.util.find_spec it imports no parent package."""
    path: list[str] | None = None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        specs = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None
