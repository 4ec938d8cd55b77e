"""Events: everything that happened in a registry, in one order, each with the hash of the one before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edgehone.core.errors import InputError
from edgehone.registry.canonical import canonical
from edgehone.registry.database import now
from edgehone.registry.schema import EVENTS, REGISTRY

# push: a version was registered. alias, rollback: an alias was moved. drop: an alias was removed. copy: a version was
# pushed to another registry. remove: a version's files were given up. operate: a step of `edgehone operate` on a server
# of the version; it changes nothing in the registry.
Kind = Literal["push", "alias", "rollback", "drop", "copy", "remove", "operate"]

# The types of a row; SQLite keeps values of any type in any column.
_ROW = tuple[int, str, str, str, str, str | None, int | None, str | None, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event. `detail` is JSON text; `hash` is over all other fields, `previous` included."""

    seq: int
    at: str
    by: str
    kind: str
    name: str
    alias: str | None
    number: int | None
    digest: str | None
    detail: str
    previous: str
    hash: str

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict, with the detail parsed."""
        return {**asdict(self), "detail": self.told}

    @property
    def told(self) -> Mapping[str, Any]:
        """The detail. Raises InputError if it is not as edgehone writes it."""
        try:
            found = json.loads(self.detail)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _damaged(self.seq, f"its detail is {self.detail[:80]!r}")
        return found


def append(
    connection: Connection,
    kind: Kind,
    name: str,
    *,
    by: str,
    alias: str | None = None,
    number: int | None = None,
    digest: str | None = None,
    detail: Mapping[str, Any],
) -> Event:
    """Append an event within the transaction of `connection` (`Database.writing`) and return it."""
    last = connection.execute(sa.select(REGISTRY.c.events, REGISTRY.c.head)).one()
    before = connection.execute(sa.select(EVENTS.c.at).where(EVENTS.c.seq == last.events)).scalar()
    fields: dict[str, Any] = {
        "seq": last.events + 1,
        # Events are in the order of their times even if a clock was set back.
        "at": max(now(), before or ""),
        "by": by,
        "kind": kind,
        "name": name,
        "alias": alias,
        "number": number,
        "digest": digest,
        "detail": canonical(detail),
        "previous": last.head,
    }
    event = Event(**fields, hash=hash_of(fields))
    connection.execute(EVENTS.insert().values(asdict(event)))
    connection.execute(REGISTRY.update().values(events=event.seq, head=event.hash))
    return event


def hash_of(fields: Mapping[str, Any]) -> str:
    """Return the hash of an event: SHA-256 over the canonical JSON of its fields but `hash`."""
    return hashlib.sha256(canonical({k: v for k, v in fields.items() if k != "hash"}).encode()).hexdigest()


def of_row(row: Any) -> Event:
    """Return the event in a row of the table. Raises InputError if the row is not as edgehone writes it."""
    try:
        values = msgspec.convert(tuple(row), _ROW)
    except msgspec.ValidationError as error:
        raise _damaged(row.seq, str(error)) from error
    return Event(**dict(zip(EVENTS.c.keys(), values, strict=True)))


def _damaged(seq: object, what: str) -> InputError:
    return InputError(
        f"event {seq} in the registry's database is damaged: {what}",
        hint="edgehone registry verify lists all damage; restore the database from a backup",
    )
