"""Push a bundle into a registry: as a new version, or as the one that it already is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edgehone.bundle import read
from edgehone.bundle.schema import CERTIFICATION, Manifest
from edgehone.bundle.schema import MANIFEST as BUNDLE_MANIFEST
from edgehone.core.errors import InputError
from edgehone.model.digest import digest_file
from edgehone.registry import events, modelpack, schema
from edgehone.registry.blobs import digest_of
from edgehone.registry.canonical import canonical
from edgehone.registry.facts import approval_of, facts_of
from edgehone.registry.layout import write_index
from edgehone.registry.modelpack import File
from edgehone.registry.names import check_name, name_of_model
from edgehone.registry.pull import check_bundle
from edgehone.registry.schema import FILES, VERSIONS
from edgehone.registry.session import Registry, Version, of_row


@dataclass(frozen=True)
class Pushed:
    """A pushed bundle. `new`: it was not a version before.

    `new_bytes`: how many of its `version.size` were stored. `own_bytes`: how many more were stored of the manifest, the
    config and the lists of chunks, which the registry makes.
    """

    version: Version
    new: bool
    new_bytes: int
    own_bytes: int


@dataclass(frozen=True)
class Contents:
    """What makes a version: its OCI manifest and config, its files, and what the registry records of it."""

    manifest: bytes
    config: bytes
    files: Sequence[File]
    approval: str
    signed_by: str | None
    facts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """The digest of the manifest, which is that of the version."""
        return digest_of(self.manifest)


def push(registry: Registry, bundle: Path, *, name: str | None, by: str, key: Path | None = None) -> Pushed:
    """Register a bundle under a name (default: that of its model).

    `key`: verify its signature with this key first, and record who signed. Raises InputError if the bundle is not as it
    was written, or its signature does not verify.
    """
    contents, manifest = read_contents(bundle, key)
    name = check_name(name) if name else name_of_model(str(manifest.model.get("name") or ""))
    with registry.blobs.adding() as adding:
        for file in contents.files:
            adding.add_file(bundle / file.path, file.digest)
        adding.add_bytes(contents.config)
        adding.add_bytes(contents.manifest)
        adding.sync()
        version, new = register(registry, name, contents, by=by, source=None)
        write_index(registry)
    return Pushed(version, new, adding.new_bytes, adding.own_bytes)


def read_contents(bundle: Path, key: Path | None, source: str | None = None) -> tuple[Contents, Manifest]:
    """Read a bundle that is as it was written, and signed by `key` if given.

    Raises InputError, naming `source` (default: the folder), if it is not.
    """
    verified = check_bundle(bundle, source or str(bundle), key)
    manifest = read(bundle).manifest
    files = _files(bundle, manifest)
    content, config = modelpack.build(manifest, files)
    approval, facts = approval_of(verified, manifest), facts_of(verified, manifest)
    return Contents(content, config, files, approval, verified.signed_by, facts), manifest


def _files(bundle: Path, manifest: Manifest) -> list[File]:
    digests = dict(manifest.files)
    for name in (BUNDLE_MANIFEST, *CERTIFICATION):
        path = bundle / name
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                digests[file.relative_to(bundle).as_posix()] = digest_file(file)
    if unsafe := [path for path in digests if modelpack.unsafe(path)]:
        raise InputError(
            f"{bundle} has a file {unsafe[0]!r}, whose name is not valid on every system",
            hint=f"edgehone show {bundle}",
        )
    if alike := modelpack.names_alike(digests):
        raise InputError(
            f"{bundle} has files whose names some systems do not tell apart: {alike}",
            hint=f"edgehone show {bundle}",
        )
    return [_file(bundle, path, digest) for path, digest in sorted(digests.items())]


def _file(bundle: Path, path: str, digest: str) -> File:
    status = (bundle / path).stat()
    return File(path, f"sha256:{digest}", status.st_size, bool(status.st_mode & 0o100))


def register(
    registry: Registry, name: str, contents: Contents, *, by: str, source: str | None
) -> tuple[Version, bool]:
    """Make a version of blobs that the registry has; return it, and whether it is new.

    `source`: the other registry it was pulled from.
    """
    with registry.database.writing() as connection:
        known = _known(connection, name, contents.digest)
        signed = contents.signed_by or (known.signed_by if known else None)
        if known and not known.removed and known.signed_by == signed:
            return known, False
        number = known.number if known else _next_number(connection, name)
        facts = {
            "size": sum(file.size for file in contents.files),
            "approval": contents.approval,
            "signed_by": signed,
        }
        detail = {**facts, "facts": contents.facts, "source": source}
        event = events.append(
            connection, "push", name, by=by, number=number, digest=contents.digest, detail=detail
        )
        if known:
            changes = {"removed": None, "signed_by": signed}
            connection.execute(VERSIONS.update().where(VERSIONS.c.id == known.id).values(changes))
        else:
            row = {
                "name": name,
                "number": number,
                "digest": contents.digest,
                "pushed": event.at,
                "pushed_by": by,
            }
            row = {**row, **facts, "facts": canonical(contents.facts), "removed": None}
            inserted = VERSIONS.insert().values(row).returning(VERSIONS.c.id)
            identity = connection.execute(inserted).scalar_one()
            connection.execute(FILES.insert(), _rows(identity, contents))
        version = _known(connection, name, contents.digest)
        assert version is not None
        return version, known is None


def _rows(version: int, contents: Contents) -> list[dict[str, Any]]:
    rows = [(file.path, file.digest, file.size) for file in contents.files]
    rows.append((schema.MANIFEST, contents.digest, len(contents.manifest)))
    rows.append((schema.CONFIG, digest_of(contents.config), len(contents.config)))
    return [{"version": version, "path": path, "digest": digest, "size": size} for path, digest, size in rows]


def _known(connection: Connection, name: str, digest: str) -> Version | None:
    where = (VERSIONS.c.name == name, VERSIONS.c.digest == digest)
    row = connection.execute(sa.select(VERSIONS).where(*where)).first()
    return of_row(row) if row else None


def _next_number(connection: Connection, name: str) -> int:
    last = connection.execute(
        sa.select(sa.func.max(VERSIONS.c.number)).where(VERSIONS.c.name == name)
    ).scalar()
    return (last or 0) + 1
