"""The index of a registry's OCI image layout. It is derived from the database, so it can always be written again."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from edgehone.execution.home import file_lock
from edgehone.registry import schema
from edgehone.registry.modelpack import ARTIFACT, OCI_MANIFEST
from edgehone.registry.schema import FILES, VERSIONS
from edgehone.registry.session import Registry

_REFERENCE = "org.opencontainers.image.ref.name"


def write_index(registry: Registry) -> None:
    """Write index.json: every version whose files are here."""
    # The database is read under the lock, so that the last writer has read the last version.
    with file_lock(registry.blobs.folder / "index.lock"):
        registry.blobs.write_index(_entries(registry))


def index_is_current(registry: Registry) -> bool:
    """Return False if index.json is damaged, or lacks a version, as after a push that was killed at its end."""
    try:
        found = json.loads((registry.blobs.folder / "index.json").read_text("utf-8"))["manifests"]
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return bool(found == _entries(registry))


def _entries(registry: Registry) -> list[dict[str, Any]]:
    joined = VERSIONS.join(FILES, (FILES.c.version == VERSIONS.c.id) & (FILES.c.path == schema.MANIFEST))
    columns = (VERSIONS.c.name, VERSIONS.c.number, VERSIONS.c.digest, FILES.c.size)
    query = (
        sa.select(*columns).select_from(joined).where(VERSIONS.c.removed.is_(None)).order_by(VERSIONS.c.id)
    )
    with registry.database.reading() as connection:
        rows = connection.execute(query).all()
    return [
        {
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT,
            "digest": row.digest,
            "size": row.size,
            "annotations": {_REFERENCE: f"{row.name}:{row.number}"},
        }
        for row in rows
    ]
