"""Remove blobs that no version needs, and on request old versions.

A version is first marked as removed in the database, with an event; its blobs go afterwards. So a power cut leaves
blobs too many, never a version that lacks one. What an alias points to, or ever pointed to, stays: `at` and a rollback
need it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edgehone.core.errors import InputError
from edgehone.execution.home import OnWait, file_lock
from edgehone.registry import events
from edgehone.registry.blobs import disk_error
from edgehone.registry.layout import write_index
from edgehone.registry.schema import ALIASES, EVENTS, FILES, VERSIONS
from edgehone.registry.session import Registry, Version, of_row
from edgehone.registry.unused import paths_of, remove_files, unused_files


@dataclass(frozen=True)
class Collected:
    """What was removed, or would be: versions, files of the folder of blobs, and their bytes."""

    versions: tuple[str, ...]
    files: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


def collect(
    registry: Registry,
    *,
    by: str,
    keep: int | None = None,
    dry: bool = False,
    on_wait: OnWait = lambda held: None,
) -> Collected:
    """Remove what no version needs. Waits for pushes and pulls that run.

    `keep`: first give up the versions of each model but the newest `keep`, and those that had an alias. `dry`: remove
    nothing. Raises InputError if a list of chunks is damaged, since then it is not known which chunks are needed.
    """
    blobs = registry.blobs
    try:
        with file_lock(blobs.folder / "lock", on_wait=on_wait):
            given_up = _give_up(registry, keep, by, dry=dry) if keep is not None else []
            needed = _needed(registry, {one.id for one in given_up})
            unused = list(unused_files(blobs, needed))
            size = sum(path.stat().st_size for path in unused)
            if not dry:
                remove_files(blobs, unused)
                write_index(registry)
    except OSError as error:
        raise disk_error(error, blobs.folder) from error
    return Collected(tuple(one.reference for one in given_up), len(unused), size)


def _give_up(registry: Registry, keep: int, by: str, *, dry: bool) -> list[Version]:
    if keep < 1:
        raise InputError(f"--keep {keep}: at least 1 version of each model stays", hint="--keep 10")
    with registry.database.reading() if dry else registry.database.writing() as connection:
        chosen = _old(connection, keep)
        if not dry:
            for version in chosen:
                detail = {"why": f"not among the newest {keep}"}
                event = events.append(
                    connection,
                    "remove",
                    version.name,
                    by=by,
                    number=version.number,
                    digest=version.digest,
                    detail=detail,
                )
                update = VERSIONS.update().where(VERSIONS.c.id == version.id)
                connection.execute(update.values(removed=event.at))
        return chosen


def _old(connection: Connection, keep: int) -> list[Version]:
    served = {
        (row.name, row.number)
        for row in connection.execute(
            sa.select(EVENTS.c.name, EVENTS.c.number).where(EVENTS.c.alias.is_not(None)).distinct()
        )
    }
    pointed = set(connection.execute(sa.select(ALIASES.c.version)).scalars())
    query = sa.select(VERSIONS).where(VERSIONS.c.removed.is_(None)).order_by(VERSIONS.c.number.desc())
    seen: dict[str, int] = {}
    old = []
    for row in connection.execute(query):
        seen[row.name] = seen.get(row.name, 0) + 1
        if seen[row.name] > keep and (row.name, row.number) not in served and row.id not in pointed:
            old.append(of_row(row))
    return old


def _needed(registry: Registry, without: Iterable[int]) -> set[Path]:
    """Return the files of the folder of blobs that versions need."""
    query = sa.select(FILES.c.digest).join(VERSIONS).where(VERSIONS.c.removed.is_(None)).distinct()
    if without := list(without):
        query = query.where(VERSIONS.c.id.not_in(without))
    with registry.database.reading() as connection:
        digests = connection.execute(query).scalars().all()
    return paths_of(registry.blobs, digests)
