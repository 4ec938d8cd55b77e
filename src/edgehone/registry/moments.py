"""What an alias pointed to at a time, with the proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from edgehone.core.errors import InputError
from edgehone.registry.chain import check_chain
from edgehone.registry.events import Event, of_row
from edgehone.registry.names import Reference, check_alias
from edgehone.registry.schema import EVENTS
from edgehone.registry.session import Registry, Version, find


@dataclass(frozen=True)
class Moment:
    """What an alias of a model pointed to: the version since `event`, until `until` (None: still).

    `version` is None if the alias had been removed.
    """

    name: str
    alias: str
    version: Version | None
    event: Event
    until: str | None

    def to_json(self) -> Mapping[str, Any]:
        """Return a plain dict."""
        return {
            "name": self.name,
            "alias": self.alias,
            "version": self.version.to_json() if self.version else None,
            "event": self.event.to_json(),
            "until": self.until,
        }


@dataclass(frozen=True)
class Answer:
    """The moments of all models, and the proof: the event with the hash `head` follows from every one before it."""

    time: str
    moments: tuple[Moment, ...]
    events: int
    head: str

    def to_json(self) -> Mapping[str, Any]:
        """Return a plain dict."""
        proof = {"events": self.events, "head": self.head}
        return {"time": self.time, "served": [one.to_json() for one in self.moments], "proof": proof}


def at(registry: Registry, time: str, alias: str, name: str | None = None) -> Answer:
    """Return what an alias pointed to at a time, for one model or all.

    Raises InputError if the time cannot be read or is to come, or if the history is not as it was written, since then
    it proves nothing.
    """
    check_alias(alias)
    moment = parse_time(time)
    with registry.database.reading() as connection:
        if problem := next(check_chain(connection), None):
            raise InputError(
                f"the history of {registry.database.label} proves nothing: {problem}",
                hint="edgehone registry verify",
            )
        last = connection.execute(
            sa.select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc())
        ).first()
        where = [EVENTS.c.alias == alias] + ([EVENTS.c.name == name] if name else [])
        rows = connection.execute(sa.select(EVENTS).where(*where).order_by(EVENTS.c.seq)).all()
        moves: dict[str, list[Event]] = {}
        for row in rows:
            moves.setdefault(row.name, []).append(of_row(row))
        found = []
        for model, its in sorted(moves.items()):
            before = [one for one in its if one.at <= moment]
            after = [one for one in its if one.at > moment]
            if before:
                event = before[-1]
                version = find(connection, Reference(model, number=event.number)) if event.number else None
                found.append(Moment(model, alias, version, event, after[0].at if after else None))
    return Answer(moment, tuple(found), last.seq if last else 0, last.hash if last else "")


def parse_time(text: str) -> str:
    """Return a time in the form of the database. One without a zone is in UTC. Raises InputError if it is none."""
    hint = "write it in UTC, or with its zone: 2026-11-27T14:03 or 2026-11-27T15:03+01:00"
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is not a time", hint=hint) from None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    if time > datetime.now(UTC):
        raise InputError(
            f"{text} is to come ({time.isoformat()} in UTC); what will be served is not known", hint=hint
        )
    return time.isoformat(timespec="microseconds")
