"""Verify a whole registry: its history, its tables, and every blob of every version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edgehone.core.errors import InputError
from edgehone.registry import schema
from edgehone.registry.chain import check_chain, check_tables
from edgehone.registry.layout import index_is_current
from edgehone.registry.modelpack import parse
from edgehone.registry.schema import FILES, REGISTRY, VERSIONS
from edgehone.registry.session import Registry, Version, of_row


@dataclass(frozen=True)
class Found:
    """The outcome: `problems` are damage; `notes` are leftovers of interrupted commands, which the next one cleans up.

    `damaged` are the digests of blobs that are missing or not what their digests say. `head` is the hash of the last
    event: with a copy of it one can prove later that the history was not rewritten.
    """

    versions: int
    blobs: int
    bytes: int
    events: int
    head: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    damaged: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


def verify(registry: Registry, *, quick: bool = False, head: str | None = None) -> Found:
    """Verify everything. `quick`: that blobs are there, without reading their content. `head`: as in `check_chain`."""
    with registry.blobs.keeping():
        return _verify(registry, quick, head)


def _verify(registry: Registry, quick: bool, head: str | None) -> Found:
    with registry.database.reading() as connection:
        last = connection.execute(sa.select(REGISTRY.c.events, REGISTRY.c.head)).one()
        problems = [
            *_integrity(registry, connection),
            *check_chain(connection, head),
            *check_tables(connection),
        ]
        versions = list(
            _readable(connection.execute(sa.select(VERSIONS).where(VERSIONS.c.removed.is_(None))))
        )
        rows = connection.execute(sa.select(FILES).order_by(FILES.c.version)).all()
    files: dict[int, dict[str, tuple[str, int]]] = {}
    for row in rows:
        files.setdefault(row.version, {})[row.path] = (row.digest, row.size)
    needed = {digest: size for version in versions for digest, size in files.get(version.id, {}).values()}
    for version in versions:
        needed.setdefault(version.digest, 0)
    broken = {
        digest: problem for digest in sorted(needed) if (problem := _blob(registry, digest, quick=quick))
    }
    for version in versions:
        its = files.get(version.id, {})
        problems += _version(registry, version.reference, version.digest, its, broken)
    notes = (
        []
        if index_is_current(registry)
        else ["index.json is behind the database: the next push writes it again"]
    )
    size = sum(needed.values())
    return Found(
        len(versions), len(needed), size, last.events, last.head, tuple(problems), tuple(notes), tuple(broken)
    )


def _readable(rows: Iterable[Any]) -> Iterator[Version]:
    for row in rows:
        try:
            yield of_row(row)
        except InputError:
            continue  # `check_tables` reports it: it is not what the event of its push says


def set_aside(registry: Registry, digests: tuple[str, ...]) -> int:
    """Move damaged blobs to the folder `damaged`, so that a push or pull adds them again. Returns how many files.

    Of a blob in chunks, only the chunks that are damaged go, and the list, so that nothing takes it for complete.
    """
    from edgehone.registry.blobs import digest_of

    blobs = registry.blobs
    (blobs.folder / "damaged").mkdir(exist_ok=True)
    paths = []
    for digest in digests:
        paths.append(blobs.whole(digest))
        if blobs.chunk_list(digest).exists():
            paths.append(blobs.chunk_list(digest))
            try:
                chunks = blobs.chunks_of(digest)
            except InputError:
                continue  # the list itself is damaged; the chunks are compared when they are used again
            for chunk, _ in chunks:
                path = blobs.chunk(chunk)
                if path.exists() and digest_of(path.read_bytes()) != chunk:
                    paths.append(path)
    moved = [path for path in dict.fromkeys(paths) if path.exists()]
    for path in moved:
        path.rename(blobs.folder / "damaged" / path.name)
    return len(moved)


def _integrity(registry: Registry, connection: Connection) -> Iterator[str]:
    if registry.database.file is not None:
        for row in connection.exec_driver_sql("pragma integrity_check"):
            if row[0] != "ok":
                yield f"the database is damaged: {row[0]}"


def _blob(registry: Registry, digest: str, *, quick: bool) -> str | None:
    """Return what is wrong with a blob, None if nothing is."""
    blobs = registry.blobs
    try:
        if not quick:
            for _ in blobs.read(digest):
                pass
        elif not blobs.has(digest):
            return f"the blob {digest} is missing"
        elif not blobs.whole(digest).exists():
            for chunk, size in blobs.chunks_of(digest):
                if not blobs.chunk(chunk).exists() or blobs.chunk(chunk).stat().st_size != size:
                    return f"the blob {digest} lacks its chunk {chunk}"
    except InputError as error:
        return error.message
    return None


def _version(
    registry: Registry,
    reference: str,
    digest: str,
    files: Mapping[str, tuple[str, int]],
    broken: Mapping[str, str],
) -> Iterator[str]:
    for path, (one, _) in files.items():
        if one in broken:
            yield f"{reference} cannot be pulled, {path}: {broken[one]}"
    if digest in broken:
        if files.get(schema.MANIFEST, ("", 0))[0] != digest:
            yield f"{reference}: {broken[digest]}"
        return
    manifest = registry.blobs.read_bytes(digest)
    config, found = parse(manifest, reference)
    expected = {file.path: (file.digest, file.size) for file in found}
    expected[schema.MANIFEST] = (digest, len(manifest))
    expected[schema.CONFIG] = (config["digest"], config["size"])
    if expected != files:
        yield f"the files of {reference} were changed in the database"
