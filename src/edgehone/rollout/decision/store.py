"""Rollouts on disk: after a kill -9 at any moment, what was committed last is read, and nothing else.

Every change commits before it is acted upon when it lets the challenger answer more, and right after when it lets it
answer less: so a restart never begins with a larger share than was decided. One rollout of a name is open at a time:
the database refuses a second.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from edgehone.core.errors import EdgehoneError, SetupError
from edgehone.execution.database import open_database
from edgehone.rollout.decision.plan import OPEN, Plan, Progress

NAME: Final = "rollouts.sqlite"
_MIGRATIONS = (
    (
        "create table rollouts (id text primary key, name text not null, plan text not null, progress text not null,"
        " began text not null, ended text, wish text, open integer check (open = 1), unique (name, open))",
        "create table events (seq integer primary key, rollout text not null references rollouts (id),"
        " at text not null, kind text not null, says text not null)",
    ),
)  # fmt: skip


class TwoRollouts(EdgehoneError):
    """Another rollout of the same name is open."""


@dataclass(frozen=True)
class Event:
    """A step of a rollout. `at` is the wall clock, for people only: nothing is decided by it."""

    at: str
    kind: str
    says: str


@dataclass(frozen=True)
class Stored:
    """A rollout as it is on disk."""

    plan: Plan
    progress: Progress
    began: str
    ended: str | None


class Store:
    """The rollouts of one server, or of one driver. Raises SetupError where the database cannot be used."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME
        with _told(self._file):
            self._database = open_database(self._file, _MIGRATIONS)
            self._database.execute("pragma synchronous = full")

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def begin(self, plan: Plan, progress: Progress) -> None:
        """Write down a rollout. Raises TwoRollouts if one of the same name is open."""
        row = (plan.id, plan.name, json.dumps(plan.to_json()), json.dumps(progress.to_json()), _now())
        try:
            with _told(self._file), self._database:
                self._database.execute(
                    "insert into rollouts (id, name, plan, progress, began, open) values (?, ?, ?, ?, ?, 1)",
                    row,
                )
        except sqlite3.IntegrityError as error:
            raise TwoRollouts(
                f"a rollout of {plan.name} is under way",
                hint="wait for it, or end it: edgehone rollout abort NAME --to URL",
            ) from error

    def save(self, number: str, progress: Progress, *steps: tuple[str, str]) -> None:
        """Write down how far a rollout is, with steps: kind and text."""
        is_open = progress.status in OPEN
        with _told(self._file):
            # Evidence of the last second may be lost with the machine's power; a decision waits for the disk.
            self._database.execute(f"pragma synchronous = {'full' if steps else 'normal'}")
        with _told(self._file), self._database:
            self._database.execute(
                "update rollouts set progress = ?, open = ?, ended = ? where id = ?",
                (json.dumps(progress.to_json()), 1 if is_open else None, None if is_open else _now(), number),
            )
            for kind, says in steps:
                self._database.execute(
                    "insert into events (rollout, at, kind, says) values (?, ?, ?, ?)",
                    (number, _now(), kind, says),
                )

    def all(self, *, only_open: bool = False) -> list[Stored]:
        """Return the rollouts, the first one first."""
        where = " where open = 1" if only_open else ""
        with _told(self._file):
            rows = self._database.execute(
                f"select plan, progress, began, ended from rollouts{where} order by rowid"
            ).fetchall()
        return [
            Stored(Plan.from_json(json.loads(plan)), Progress(**json.loads(progress)), began, ended)
            for plan, progress, began, ended in rows
        ]

    def wish(self, number: str, action: str) -> None:
        """Ask the process that drives a rollout to pause, resume or abort it."""
        with _told(self._file), self._database:
            self._database.execute("update rollouts set wish = ? where id = ?", (action, number))

    def take_wish(self, number: str) -> str | None:
        """Return what was asked for since the last time."""
        with _told(self._file), self._database:
            row = self._database.execute("select wish from rollouts where id = ?", (number,)).fetchone()
            if row is None or row[0] is None:
                return None
            self._database.execute("update rollouts set wish = null where id = ?", (number,))
            return str(row[0])

    def events(self, number: str) -> Sequence[Event]:
        """Return the steps of a rollout."""
        with _told(self._file):
            rows = self._database.execute(
                "select at, kind, says from events where rollout = ? order by seq", (number,)
            ).fetchall()
        return [Event(*row) for row in rows]

    def promoted(self, name: str, manifest: str) -> str | None:
        """Return the folder that rollouts have put in the place of a bundle with this manifest; None if none has."""
        path = None
        for one in self.all():
            if (
                one.plan.name == name
                and one.progress.status == "promoted"
                and one.plan.champion.manifest == manifest
            ):
                path, manifest = one.plan.challenger.path, one.plan.challenger.manifest
        return path


def described(stored: Stored, events: Sequence[Event]) -> dict[str, Any]:
    """Return a rollout for people and programs, without the state of its judge."""
    plan, progress = stored.plan.to_json(), stored.progress.to_json()
    told = {name: value for name, value in plan.items() if name != "rules"}
    told |= {name: value for name, value in progress.items() if name not in ("judge", "ab")}
    steps = [{"at": one.at, "kind": one.kind, "says": one.says} for one in events]
    return {**told, "began": stored.began, "ended": stored.ended, "events": steps}


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        hint = "free some space" if "full" in str(error) else "give another --state DIR"
        raise SetupError(f"the rollouts in {file} cannot be used: {error}", hint=hint) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
