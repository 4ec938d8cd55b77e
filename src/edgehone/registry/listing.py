"""List versions with their aliases, and the events of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.registry.events import Event, of_row
from edgehone.registry.names import Reference
from edgehone.registry.schema import ALIASES, COPIES, EVENTS, VERSIONS
from edgehone.registry.session import Registry, Version, find, manifest_of
from edgehone.registry.session import of_row as version_of


def versions(registry: Registry, name: str | None = None) -> list[tuple[Version, list[str]]]:
    """Return the versions of a model, or of all, with their aliases; the newest of a model first.

    Raises InputError if the registry has no such model.
    """
    chosen = () if name is None else (VERSIONS.c.name == name,)
    query = sa.select(VERSIONS).where(*chosen).order_by(VERSIONS.c.name, VERSIONS.c.number.desc())
    with registry.database.reading() as connection:
        rows = connection.execute(query).all()
        aliases = connection.execute(
            sa.select(ALIASES.c.version, ALIASES.c.alias).order_by(ALIASES.c.alias)
        ).all()
    if name is not None and not rows:
        raise _no_model(registry, name)
    names: dict[int, list[str]] = {}
    for row in aliases:
        names.setdefault(row.version, []).append(row.alias)
    return [(version_of(row), names.get(row.id, [])) for row in rows]


def _no_model(registry: Registry, name: str) -> InputError:
    with registry.database.reading() as connection:
        names = connection.execute(sa.select(VERSIONS.c.name).distinct()).scalars().all()
    hint = suggest(name, names, "edgehone registry list")
    return InputError(f"the registry has no model {name!r}", hint=hint)


def describe(registry: Registry, reference: Reference) -> Mapping[str, Any]:
    """Return everything that the registry holds of a version, as JSON has it."""
    with registry.database.reading() as connection:
        version = find(connection, reference)
        aliases = connection.execute(
            sa.select(ALIASES.c.alias).where(ALIASES.c.version == version.id).order_by(ALIASES.c.alias)
        ).scalars()
        copies = connection.execute(sa.select(COPIES).where(COPIES.c.version == version.id)).all()
        about = {
            **version.to_json(),
            "aliases": list(aliases),
            "copies": [f"oci://{row.host}/{row.repository}:{row.tag}" for row in copies],
        }
    if version.removed:
        return {**about, "files": []}
    _, files = manifest_of(registry, version)
    return {
        **about,
        "files": [
            {
                "path": file.path,
                "digest": file.digest,
                "size": file.size,
                "chunks": _chunks(registry, file.digest),
            }
            for file in files
        ],
    }


def _chunks(registry: Registry, digest: str) -> int | None:
    return len(registry.blobs.chunks_of(digest)) if registry.blobs.chunk_list(digest).exists() else None


def history(registry: Registry, name: str | None = None, alias: str | None = None) -> list[Event]:
    """Return the events of the registry, of a model, or of one alias of it, in their order."""
    where = [] if name is None else [EVENTS.c.name == name]
    if alias is not None:
        where.append(EVENTS.c.alias == alias)
    with registry.database.reading() as connection:
        rows = connection.execute(sa.select(EVENTS).where(*where).order_by(EVENTS.c.seq)).all()
    if name is not None and not rows:
        versions(registry, name)  # raises InputError if there is no such model
    return [of_row(row) for row in rows]
