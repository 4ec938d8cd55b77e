"""Verify the events of a registry, and that its tables hold what the events say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edgehone.registry import events
from edgehone.registry.database import genesis
from edgehone.registry.events import Event
from edgehone.registry.schema import ALIASES, EVENTS, REGISTRY, VERSIONS

# What a push says of a version, and its row repeats.
_PUSHED = ("size", "approval", "signed_by")


def check_chain(connection: Connection, head: str | None = None) -> Iterator[str]:
    """Yield what shows that an event was changed, removed or put in; nothing if all are as they were written.

    `head`: the hash of an event as somebody noted it earlier, which must still be there. Only such a note shows that
    all events from some point on were written anew.
    """
    registry = connection.execute(sa.select(REGISTRY)).one()
    previous, count, noted = genesis(registry.uid), 0, head is None
    for event in _all(connection):
        count += 1
        if event.seq != count:
            yield f"event {count} is missing; event {event.seq} follows {count - 1}"
            count = event.seq
        if event.hash != events.hash_of(asdict(event)):
            yield f"event {event.seq} was changed: its content has another hash"
        elif event.previous != previous:
            yield f"event {event.seq} does not follow event {event.seq - 1}: one of them was written anew"
        previous = event.hash
        noted = noted or event.hash == head
    if (registry.events, registry.head) != (count, previous):
        yield f"the registry had {registry.events} events, and the last is not event {count}: events were removed"
    if not noted:
        yield f"no event has the hash {head}: the history was written anew"


def check_tables(connection: Connection) -> Iterator[str]:
    """Yield each version and alias that is not as the events say."""
    versions, aliases = _replayed(_all(connection))
    found = {(row.name, row.number): row for row in connection.execute(sa.select(VERSIONS))}
    for key in sorted(versions.keys() | found.keys(), key=_place):
        named = f"{key[0]}:{key[1]}"
        if key not in found:
            yield f"the version {named} was removed from the database"
        elif key not in versions:
            yield f"the version {named} is in the database, but no event says that it was pushed"
        elif differing := [
            name for name, value in versions[key].items() if _value(found[key], name) != value
        ]:
            yield f"the version {named} was changed in the database: {', '.join(sorted(differing))}"
    joined = sa.select(ALIASES.c.name, ALIASES.c.alias, VERSIONS.c.number).join(VERSIONS)
    pointing = {(row.name, row.alias): row.number for row in connection.execute(joined)}
    for name, alias in sorted(aliases.keys() | pointing.keys()):
        said, is_ = aliases.get((name, alias)), pointing.get((name, alias))
        if said != is_:
            yield f"{name}:{alias} points to version {is_}, but the last event says {said}"


def _place(key: tuple[Any, Any]) -> tuple[str, int]:
    """Return what versions are sorted by; those whose number is none, in a damaged database, come first."""
    return str(key[0]), key[1] if type(key[1]) is int else -1


def _all(connection: Connection) -> Iterator[Event]:
    for row in connection.execute(sa.select(EVENTS).order_by(EVENTS.c.seq)):
        yield events.of_row(row)


def _value(row: Any, name: str) -> Any:
    if name != "facts":
        return getattr(row, name)
    try:
        return json.loads(row.facts)
    except (ValueError, TypeError, RecursionError):
        return None  # no event says so


def _replayed(
    all_events: Iterator[Event],
) -> tuple[dict[tuple[str, int], dict[str, Any]], Mapping[tuple[str, str], int]]:
    """Return the versions by name and number, and the versions of aliases, as the events say."""
    versions: dict[tuple[str, int], dict[str, Any]] = {}
    aliases: dict[tuple[str, str], int] = {}
    for event in all_events:
        try:
            detail = json.loads(event.detail)
            if event.kind == "push" and event.number is not None:
                old = versions.get((event.name, event.number), {"pushed": event.at, "pushed_by": event.by})
                told = {name: detail[name] for name in (*_PUSHED, "facts")}
                versions[event.name, event.number] = {**old, **told, "digest": event.digest, "removed": None}
            elif event.kind == "remove" and event.number is not None:
                versions[event.name, event.number]["removed"] = event.at
            elif event.kind in ("alias", "rollback") and event.alias and event.number is not None:
                aliases[event.name, event.alias] = event.number
            elif event.kind == "drop" and event.alias:
                aliases.pop((event.name, event.alias), None)
        except (ValueError, KeyError, TypeError):
            continue  # `check_chain` reports the event: what edgehone wrote can be replayed
    return versions, aliases
