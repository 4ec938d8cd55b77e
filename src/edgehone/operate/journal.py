"""What operate did and does, on disk: after a kill -9 at any moment the next run reads where the last one was.

A remedy is written before it is begun, and at most one is in flight: the database refuses a second.

    begun      it is about to be done, or was done
    done       the server, or the control group, is as the remedy wants it; whether it helps is not known yet
    undoing    it did not help, and is about to be undone, or was
    kept, undone, failed, left    the ends: it helped; it did not; it could not be done; someone else changed it
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from edgehone.core.errors import InputError, SetupError
from edgehone.execution.database import open_database

NAME: Final = "journal.sqlite"
State = Literal["begun", "done", "undoing", "kept", "undone", "failed", "left"]
_FLYING = ("begun", "done", "undoing")
_MIGRATIONS = (
    (
        "create table operator (id text not null, url text not null)",
        "create table incidents (id integer primary key, model text not null, symptom text not null,"
        " alerts text not null, opened text not null, closed text, outcome text)",
        "create table remedies (id integer primary key, incident integer not null references incidents (id),"
        " name text not null, plan text not null, sample text not null, state text not null, began text not null,"
        " at real not null, ended text, why text, in_flight integer unique check (in_flight = 1))",
        "create table events (seq integer primary key, at text not null, incident integer, kind text not null,"
        " says text not null, detail text not null, chained integer not null default 0)",
        "create table seen (seq integer primary key, at real not null, model text not null, body text not null,"
        " mine integer not null)",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Incident:
    """Alerts of one symptom of a model (None: of the server), until they end or a human has been called."""

    id: int
    model: str | None
    symptom: str
    alerts: Sequence[str]
    opened: str
    outcome: str | None


@dataclass(frozen=True)
class Tried:
    """A remedy of an incident. `plan` is what its action needs, `sample` what was measured before it.

    `at` is the time at which it was begun, in seconds since 1970; `why` how it ended.
    """

    id: int
    incident: int
    name: str
    plan: Mapping[str, Any]
    sample: Mapping[str, Any]
    state: State
    began: str
    at: float
    ended: str | None
    why: str | None


@dataclass(frozen=True)
class Event:
    """A step, in words and with its facts."""

    seq: int
    at: str
    incident: int | None
    kind: str
    says: str
    detail: Mapping[str, Any]


class Journal:
    """The journal of one server. Every method commits before it returns."""

    def __init__(self, folder: Path, url: str) -> None:
        """Open it, or make it. Raises InputError if it is another server's, SetupError if it cannot be written."""
        self.folder, self._file = folder, folder / NAME
        with _told(self._file):
            self._database = open_database(self._file, _MIGRATIONS)
            self._database.execute("pragma synchronous = full")
            row = self._database.execute("select id, url from operator").fetchone()
            if row is None:
                row = secrets.token_hex(8), url
                with self._database:
                    self._database.execute("insert into operator values (?, ?)", row)
        if row[1] != url:
            raise InputError(
                f"{folder} is the state of operating {row[1]}, not {url}", hint="give another --state DIR"
            )
        self.id: str = row[0]

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def open_incident(self, model: str | None, symptom: str, alerts: Sequence[str]) -> Incident:
        """Begin an incident."""
        with self._writing() as database:
            found = database.execute(
                "insert into incidents (model, symptom, alerts, opened) values (?, ?, ?, ?)",
                (model or "", symptom, json.dumps(list(alerts)), _now()),
            )
            return self._incident(found.lastrowid)

    def close_incident(self, incident: int, outcome: str) -> None:
        """End an incident."""
        with self._writing() as database:
            database.execute(
                "update incidents set closed = ?, outcome = ? where id = ?", (_now(), outcome, incident)
            )

    def name_outcome(self, incident: int, outcome: str) -> None:
        """Say what has come of an incident whose alerts still hold."""
        with self._writing() as database:
            database.execute("update incidents set outcome = ? where id = ?", (outcome, incident))

    def open_incidents(self) -> list[Incident]:
        """Return the incidents that have not ended, the oldest first."""
        with _told(self._file):
            rows = self._database.execute("select id from incidents where closed is null order by id")
            return [self._incident(row[0]) for row in rows.fetchall()]

    def incidents(self) -> list[Incident]:
        """Return all incidents."""
        with _told(self._file):
            rows = self._database.execute("select id from incidents order by id")
            return [self._incident(row[0]) for row in rows.fetchall()]

    def begin(self, incident: int, name: str, plan: Mapping[str, Any], sample: Mapping[str, Any]) -> Tried:
        """Write down a remedy that is about to be done. Raises SetupError if another one is in flight."""
        row = (incident, name, json.dumps(plan), json.dumps(sample), _now(), _seconds())
        with self._writing() as database:
            made = database.execute(
                "insert into remedies (incident, name, plan, sample, state, began, at, in_flight)"
                " values (?, ?, ?, ?, 'begun', ?, ?, 1)",
                row,
            )
            return self._tried(made.lastrowid)

    def move(self, remedy: int, state: State, why: str | None = None) -> None:
        """Write down how far a remedy is."""
        flying = 1 if state in _FLYING else None
        ended = None if flying else _now()
        with self._writing() as database:
            database.execute(
                "update remedies set state = ?, in_flight = ?, ended = ?, why = coalesce(?, why) where id = ?",
                (state, flying, ended, why, remedy),
            )

    def in_flight(self) -> Tried | None:
        """Return the remedy that is in flight."""
        with _told(self._file):
            row = self._database.execute("select id from remedies where in_flight = 1").fetchone()
            return self._tried(row[0]) if row else None

    def tried(self, incident: int) -> list[Tried]:
        """Return the remedies of an incident, in the order in which they were begun."""
        with _told(self._file):
            rows = self._database.execute(
                "select id from remedies where incident = ? order by id", (incident,)
            )
            return [self._tried(row[0]) for row in rows.fetchall()]

    def begun_since(self, at: float) -> int:
        """Return how many remedies were begun since a time, in seconds since 1970."""
        with _told(self._file):
            row = self._database.execute("select count(*) from remedies where at >= ?", (at,)).fetchone()
            return int(row[0])

    def tell(self, kind: str, says: str, incident: int | None = None, **detail: Any) -> Event:
        """Write down a step."""
        with self._writing() as database:
            made = database.execute(
                "insert into events (at, incident, kind, says, detail) values (?, ?, ?, ?, ?)",
                (_now(), incident, kind, says, json.dumps(detail)),
            )
            return self._events("where seq = ?", made.lastrowid)[0]

    def events(self, incident: int | None = None) -> list[Event]:
        """Return the steps, of one incident or of all."""
        with _told(self._file):
            return self._events("where incident = ?", incident) if incident else self._events("where ?", 1)

    def unchained(self) -> list[Event]:
        """Return the steps of incidents that are not in the chain of the registry yet."""
        with _told(self._file):
            return self._events("where incident is not null and chained = ?", 0)

    def chained(self, seq: int) -> None:
        """Write down that a step is in the chain of the registry."""
        with self._writing() as database:
            database.execute("update events set chained = 1 where seq = ?", (seq,))

    def see(self, model: str, body: Mapping[str, Any], *, mine: bool) -> bool:
        """Note how a model is served, if that is another way than the last. `mine`: operate changed it.

        Returns whether it is another way.
        """
        with self._writing() as database:
            query = "select body from seen where model = ? order by seq desc limit 1"
            row = database.execute(query, (model,)).fetchone()
            text = json.dumps(body, sort_keys=True)
            if row is not None and row[0] == text:
                return False
            database.execute(
                "insert into seen (at, model, body, mine) values (?, ?, ?, ?)",
                (_seconds(), model, text, mine),
            )
            return True

    def ways(self, model: str) -> list[tuple[float, Mapping[str, Any], bool]]:
        """Return when a model began to be served in which ways, and whether by operate, the first one first."""
        query = "select at, body, mine from seen where model = ? order by seq"
        with _told(self._file):
            rows = self._database.execute(query, (model,)).fetchall()
        return [(at, json.loads(body), bool(mine)) for at, body, mine in rows]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with _told(self._file), self._database:
            self._database.execute("begin immediate")
            yield self._database

    def _incident(self, number: int | None) -> Incident:
        row = self._database.execute(
            "select id, model, symptom, alerts, opened, outcome from incidents where id = ?", (number,)
        ).fetchone()
        return Incident(row[0], row[1] or None, row[2], json.loads(row[3]), row[4], row[5])

    def _tried(self, number: int | None) -> Tried:
        row = self._database.execute(
            "select id, incident, name, plan, sample, state, began, at, ended, why from remedies where id = ?",
            (number,),
        ).fetchone()
        return Tried(row[0], row[1], row[2], json.loads(row[3]), json.loads(row[4]), *row[5:])

    def _events(self, where: str, value: int | None) -> list[Event]:
        query = f"select seq, at, incident, kind, says, detail from events {where} order by seq"
        rows = self._database.execute(query, (value,)).fetchall()
        return [Event(row[0], row[1], row[2], row[3], row[4], json.loads(row[5])) for row in rows]


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise SetupError(f"another remedy is in flight in {file}: {error}") from error
    except sqlite3.Error as error:
        hint = "free some space" if "full" in str(error) else "give another --state DIR"
        raise SetupError(
            f"the journal {file} cannot be used: {error}; nothing is changed", hint=hint
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _seconds() -> float:
    return datetime.now(UTC).timestamp()
