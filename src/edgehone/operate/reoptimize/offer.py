"""Offer a challenger in the registry: a version with the alias challenger. To promote it is left to a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgehone.core.errors import SetupError
from edgehone.core.who import whoever

if TYPE_CHECKING:
    from edgehone.registry.session import Registry

ALIAS = "challenger"


@dataclass(frozen=True)
class Offer:
    """Where challengers are offered: the registry, and the name of the model in it (None: that of the bundle)."""

    registry: Registry
    name: str | None


def open_offer(where: str, blobs: Path | None, name: str | None) -> Offer:
    """Open the registry. Raises SetupError or InputError if that fails, before anything slow."""
    try:
        from edgehone.registry.session import open_registry
    except ModuleNotFoundError as error:
        raise SetupError(
            f"--registry needs the package {error.name}, which is not installed",
            hint='pip install "edgehone[registry]"',
        ) from error
    return Offer(open_registry(where, blobs), name)


def offer(to: Offer, bundle: Path, why: str) -> str:
    """Push a bundle and let the alias challenger point to it; return the version (NAME:3).

    Both may be repeated: a bundle that was pushed is not stored again. The alias may point to a version that is
    approved on conditions, since it serves nobody; the version before it keeps its number.
    """
    from edgehone.registry import aliases
    from edgehone.registry.names import Reference
    from edgehone.registry.push import push

    version = push(to.registry, bundle, name=to.name, by=whoever()).version
    target = Reference(version.name, number=version.number)
    aliases.move(to.registry, ALIAS, target, by=whoever(), why=why, force=version.approval != "yes")
    return version.reference
