"""The record of a pipeline's runs, in SQLite: results, approvals, events, and what a stage must not forget.

Each change is one transaction, so a run that is killed or finds the disk full loses nothing that was recorded.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from edgehone.core.errors import SetupError
from edgehone.execution.database import open_database
from edgehone.pipeline.result import Result

NAME: Final = "pipeline.sqlite"
_FREE: Final = "free some space or give another --out; what was recorded is kept"
Happened = Literal["begun", "passed", "failed", "skipped", "waiting", "blocked", "approved", "rejected"]
_MIGRATIONS: Final = (
    (
        "create table results (stage text primary key, result text not null)",
        "create table approvals (stage text, key text, answer text not null, by text not null, why text not null, "
        "at text not null, primary key (stage, key))",
        "create table events (seq integer primary key, at text not null, run text not null, stage text not null, "
        "happened text not null, key text not null)",
        "create table memory (stage text primary key, facts text not null)",
    ),
)


@dataclass(frozen=True)
class Answer:
    """What a person said of a stage that waits: approved or rejected, who, why and when (UTC)."""

    answer: Literal["approved", "rejected"]
    by: str
    why: str
    at: str


class Record:
    """The record in the folder of a run. `run` names this run in the events."""

    def __init__(self, out: Path, run: str = "") -> None:
        self._path, self._run = out / NAME, run

    def results(self) -> dict[str, Result]:
        """Return the last result of each stage."""
        with self._open() as database:
            rows = database.execute("select stage, result from results").fetchall()
        return {stage: Result.from_json(json.loads(text)) for stage, text in rows}

    def finish(self, result: Result) -> None:
        """Record a stage's result, and the event."""
        happened = "skipped" if result.skipped else result.outcome
        with self._open() as database:
            if not result.skipped:
                row = (result.stage, json.dumps(result.to_json()))
                database.execute("insert or replace into results values (?, ?)", row)
            if result.passed:
                database.execute("delete from memory where stage = ?", (result.stage,))
            self._event(database, result.stage, happened, result.key)

    def begin(self, stage: str, key: str) -> None:
        """Record that a stage begins."""
        with self._open() as database:
            self._event(database, stage, "begun", key)

    def answer(self, stage: str, key: str) -> Answer | None:
        """Return a person's answer about a stage with this key, None without one."""
        with self._open() as database:
            query = "select answer, by, why, at from approvals where stage = ? and key = ?"
            row = database.execute(query, (stage, key)).fetchone()
        return Answer(*row) if row else None

    def decide(
        self, stage: str, key: str, answer: Literal["approved", "rejected"], by: str, why: str
    ) -> None:
        """Record what a person says of a stage with this key."""
        with self._open() as database:
            row = (stage, key, answer, by, why, _now())
            database.execute("insert or replace into approvals values (?, ?, ?, ?, ?, ?)", row)
            self._event(database, stage, answer, key)

    def remember(self, stage: str, facts: Mapping[str, Any]) -> None:
        """Keep facts of a stage that has begun, until it passes."""
        with self._open() as database:
            database.execute("insert or replace into memory values (?, ?)", (stage, json.dumps(facts)))

    def remembered(self, stage: str) -> dict[str, Any]:
        """Return the facts that were kept of a stage that did not pass since; {} without any."""
        with self._open() as database:
            row = database.execute("select facts from memory where stage = ?", (stage,)).fetchone()
        return dict(json.loads(row[0])) if row else {}

    def events(self) -> list[tuple[str, str, str, str, str]]:
        """Return all events: time, run, stage, what happened, key."""
        with self._open() as database:
            query = "select at, run, stage, happened, key from events order by seq"
            return [tuple(row) for row in database.execute(query)]

    def _event(self, database: sqlite3.Connection, stage: str, happened: str, key: str) -> None:
        row = (_now(), self._run, stage, happened, key)
        database.execute("insert into events (at, run, stage, happened, key) values (?, ?, ?, ?, ?)", row)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(open_database(self._path, _MIGRATIONS)) as database, database:
                yield database
        except SetupError as error:
            raise SetupError(error.message, hint=error.hint or _FREE) from error
        except (sqlite3.OperationalError, OSError) as error:
            raise SetupError(f"{self._path} cannot be written: {error}", hint=_FREE) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
