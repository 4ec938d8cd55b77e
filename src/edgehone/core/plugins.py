"""Modules that are registered as entry points, built-in ones and those of other packages, loaded by name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from edgehone.core.distributions import EntryPoint
from edgehone.core.errors import InputError, SetupError
from edgehone.core.suggestions import suggest


@dataclass(frozen=True)
class Kind:
    """A kind of plugin.

    `name` is what messages call one ("backend"), `listing` the command that lists them, `contract` the class that says
    what a module must define, and `required` those names.
    """

    name: str
    listing: str
    contract: str
    required: Sequence[str]


def module_name(kind: Kind, registered: Mapping[str, EntryPoint], name: str) -> str:
    """Return the name of a registered module. Raises InputError for an unknown name."""
    if name not in registered:
        guess = suggest(name, sorted(registered), "")
        raise InputError(
            f"no {kind.name} is called '{name}'" + (f"; {guess}" if guess else ""), hint=kind.listing
        )
    return registered[name].value


def load(kind: Kind, registered: Mapping[str, EntryPoint], name: str) -> ModuleType:
    """Load a module. Raises InputError for an unknown name, SetupError for a module that lacks what is required."""
    value = module_name(kind, registered, name)
    try:
        module = importlib.import_module(value)
    except ImportError as error:
        raise SetupError(
            f"the {kind.name} '{name}' ({value}) cannot be imported: {error}",
            hint=f"reinstall or remove the package that registers '{name}'",
        ) from error
    if missing := [part for part in kind.required if part not in vars(module)]:
        raise SetupError(
            f"the {kind.name} '{name}' ({value}) lacks {', '.join(missing)}",
            hint=f"{kind.contract} lists the names that a {kind.name}'s module must define",
        )
    return module
