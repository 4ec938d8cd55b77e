"""Let an alias of the registry point to the version that was promoted."""

from __future__ import annotations

from collections.abc import Callable

from edgehone.core.errors import EdgehoneError
from edgehone.registry.aliases import move
from edgehone.registry.names import Reference
from edgehone.registry.session import Registry, Version


class NotMoved(EdgehoneError):
    """The challenger serves, but the registry does not say so."""


def promote(opened: Callable[[], Registry], version: Version, alias: str, *, by: str, why: str) -> None:
    """Move an alias to the promoted version. Raises NotMoved, with the command to type, if the registry is gone."""
    try:
        target = Reference(version.name, number=version.number)
        move(opened(), alias, target, by=by, why=why)
    except Exception as error:
        reason = error.message if isinstance(error, EdgehoneError) else f"{type(error).__name__}: {error}"
        raise NotMoved(
            f"{version.reference} is promoted and serves, but the alias {alias} could not be moved: {reason}",
            hint=f'edgehone registry alias {version.name} {alias} {version.number} --why "{why}"',
        ) from error
