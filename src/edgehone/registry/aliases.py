"""Aliases: names such as production that point to one version of a model, and move by compare-and-set.

A move says from which version; if the alias points to another by then, someone was faster, and the move is refused.
Every move is an event, from which the earlier states are known (`moments`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edgehone.core.errors import EdgehoneError, InputError
from edgehone.registry import events
from edgehone.registry.events import Event
from edgehone.registry.names import Reference, check_alias
from edgehone.registry.schema import ALIASES, EVENTS, FILES, VERSIONS
from edgehone.registry.session import Registry, Version, find

# Who moves an alias from whatever it points to at the time of the call.
CURRENT: Final = -1


class Conflict(EdgehoneError):
    """An alias does not point to the version that it was to be moved from: someone else has moved it."""


def move(
    registry: Registry,
    alias: str,
    target: Reference,
    *,
    by: str,
    why: str,
    expected: int | None = CURRENT,
    force: bool = False,
) -> Event | None:
    """Let an alias of a model point to a version of it. Returns the event; None if it points there already.

    `expected`: the version that it points to now, None for none. `force`: also to a version that is not approved.
    Raises Conflict if the alias points elsewhere, InputError if the version may not get an alias.
    """
    check_alias(alias)
    with registry.database.reading() as connection:
        version = find(connection, target)
        if expected == CURRENT:
            expected = current(connection, target.name, alias)
    _check(registry, version, alias, force=force)
    with registry.database.writing() as connection:
        return _set(connection, "alias", alias, version, expected, by, {"why": why, "forced": force})


def roll_back(registry: Registry, name: str, alias: str, *, by: str, why: str) -> Event:
    """Let an alias point to the version before its present one. Again: to the one before that.

    It was approved, or forced, when it got the alias, so it is not judged again. Raises InputError if there is none.
    """
    with registry.database.reading() as connection:
        before = earlier(connection, name, alias)
        expected = current(connection, name, alias)
        usable = [number for number in before if _has_files(connection, name, number)]
        if not usable:
            raise InputError(
                f"{name}:{alias} has no earlier version to go back to",
                hint=f"edgehone registry history {name} {alias}",
            )
        version = find(connection, Reference(name, number=usable[-1]))
    _check(registry, version, alias, force=True)
    with registry.database.writing() as connection:
        event = _set(connection, "rollback", alias, version, expected, by, {"why": why})
        assert event is not None
        return event


def drop(registry: Registry, name: str, alias: str, *, by: str, why: str) -> Event:
    """Remove an alias. Raises InputError if there is none."""
    with registry.database.writing() as connection:
        version = find(connection, Reference(name, alias=alias))
        detail = {"from": version.number, "why": why}
        connection.execute(ALIASES.delete().where(*_is(name, alias)))
        return events.append(connection, "drop", name, by=by, alias=alias, detail=detail)


def current(connection: Connection, name: str, alias: str) -> int | None:
    """Return the number of the version that an alias points to, None if there is no such alias."""
    joined = sa.select(VERSIONS.c.number).join(ALIASES, ALIASES.c.version == VERSIONS.c.id)
    return connection.execute(joined.where(*_is(name, alias))).scalar()


def earlier(connection: Connection, name: str, alias: str) -> list[int]:
    """Return the versions that an alias can go back to, the last one last."""
    query = sa.select(EVENTS).where(EVENTS.c.name == name, EVENTS.c.alias == alias).order_by(EVENTS.c.seq)
    return stack(events.of_row(row) for row in connection.execute(query))[:-1]


def stack(moves: Iterable[Event]) -> list[int]:
    """Return the versions that the moves of one alias leave, the present one last.

    A rollback takes away what it goes back over. A drop leaves the last version to go back to.
    """
    numbers: list[int] = []
    dropped = False
    for one in moves:
        if one.kind == "rollback":
            while numbers and numbers[-1] != one.number:
                numbers.pop()
        elif one.kind == "alias" and one.number is not None:
            numbers.append(one.number)
        dropped = one.kind == "drop"
    return [*numbers, 0] if dropped else numbers


def _set(
    connection: Connection,
    kind: events.Kind,
    alias: str,
    version: Version,
    expected: int | None,
    by: str,
    detail: dict[str, Any],
) -> Event | None:
    found = current(connection, version.name, alias)
    if found != expected:
        raise _conflict(connection, version.name, alias, found, expected)
    if found == version.number:
        return None
    if not _has_files(connection, version.name, version.number):
        raise _removed(version)
    event = events.append(
        connection,
        kind,
        version.name,
        by=by,
        alias=alias,
        number=version.number,
        digest=version.digest,
        detail={**detail, "from": found, "approval": version.approval},
    )
    row = {"name": version.name, "alias": alias, "version": version.id, "event": event.seq}
    connection.execute(ALIASES.delete().where(*_is(version.name, alias)))
    connection.execute(ALIASES.insert().values(row))
    return event


def _conflict(
    connection: Connection, name: str, alias: str, found: int | None, expected: int | None
) -> Conflict:
    query = (
        sa.select(EVENTS).where(EVENTS.c.name == name, EVENTS.c.alias == alias).order_by(EVENTS.c.seq.desc())
    )
    last = connection.execute(query).first()
    points = f"points to version {found}" if found else "does not exist"
    since = f" since {last.at[:19]}, moved by {last.by}" if last else ""
    return Conflict(
        f"{name}:{alias} {points}{since}; it was to be moved from {expected or 'none'}. Nothing was changed",
        hint=f"edgehone registry history {name} {alias}; if you still want it, repeat the command",
    )


def _check(registry: Registry, version: Version, alias: str, *, force: bool) -> None:
    if version.removed:
        raise _removed(version)
    if version.approval != "yes" and not force:
        state = "approved on conditions only" if version.approval == "conditional" else "not approved"
        raise InputError(
            f"{version.reference} is {state}, so it cannot become {alias}",
            hint="edgehone certify the bundle and push it again, or add --force and say why",
        )
    with registry.database.reading() as connection:
        digests = (
            connection.execute(sa.select(FILES.c.digest).where(FILES.c.version == version.id)).scalars().all()
        )
    if missing := [digest for digest in digests if not registry.blobs.has(digest)]:
        raise InputError(
            f"{version.reference} lacks {len(missing)} of its blobs, the first is {missing[0]}",
            hint="edgehone registry verify; push the bundle again to repair it",
        )


def _removed(version: Version) -> InputError:
    return InputError(
        f"the files of {version.reference} were removed, so it cannot get an alias",
        hint="push the bundle again",
    )


def _has_files(connection: Connection, name: str, number: int) -> bool:
    where = (VERSIONS.c.name == name, VERSIONS.c.number == number, VERSIONS.c.removed.is_(None))
    return connection.execute(sa.select(VERSIONS.c.id).where(*where)).first() is not None


def _is(name: str, alias: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return ALIASES.c.name == name, ALIASES.c.alias == alias
