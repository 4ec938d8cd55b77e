"""The history: every trial of every search, for `edgehone history` and for the next run of the same search.

It is the SQLite database EDGEHONE_HOME/history.sqlite. Each `record` is one transaction, so a killed run loses at most
the trials it was about to record, and several runs can record at the same time. Files of edgehone versions that kept
the history as history/NAME.jsonl are ignored.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgehone.core import typed_json
from edgehone.core.errors import InputError, SetupError
from edgehone.core.figure import Figure
from edgehone.core.suggestions import suggest
from edgehone.core.typed_json import Count
from edgehone.decision.decision import Status
from edgehone.decision.requirements import Requirements
from edgehone.execution import home
from edgehone.execution.database import open_database
from edgehone.optimize.context import RunContext
from edgehone.optimize.trial import Trial
from edgehone.plan.roofline import workload_demand

# Append to it; never change a released migration (`open_database`).
MIGRATIONS = (
    (
        "create table searches (name text primary key, about text not null, created text not null, used real not null)",
        "create table trials (search text not null references searches (name), key text not null, "
        "record text not null, primary key (search, key))",
    ),
)
# The facts of a trial that later runs and `edgehone history` need.
_FACTS = ("build_seconds", "raced_out", "null_test", "tuned_from")


@dataclass(frozen=True)
class TrialRecord:
    """The facts about one trial. `tried` is True once it was built or has failed; `at` is UTC, ISO 8601.

    `figures` are those that have a value.
    """

    key: str
    recipe: Mapping[str, Any]
    bits: float | None
    calibrated: bool
    tried: bool
    status: Status
    error: str | None
    bytes: Count | None
    figures: Mapping[str, Figure]
    facts: Mapping[str, Any]
    at: str

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


@dataclass(frozen=True)
class Study:
    """One search: what identifies it, and its trials in the order in which they were first recorded."""

    name: str
    about: Mapping[str, Any]
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    @property
    def order(self) -> list[str]:
        """The keys of the recipes that were built or failed, in the order of the first try."""
        return [key for key, record in self.trials.items() if record.tried]

    def record(self, *trials: Trial) -> None:
        """Record the present state of the trials that have changed since they were last recorded.

        Raises SetupError if the history cannot be written.
        """
        with self._lock:
            changed = [one for one in map(_record, trials) if self._differs(one)]
            if not changed:
                return
            with _database() as database:
                database.executemany(
                    "insert into trials values (?, ?, ?) on conflict do update set record = excluded.record",
                    [(self.name, one.key, json.dumps(one.to_json())) for one in changed],
                )
                database.execute("update searches set used = ? where name = ?", (time.time(), self.name))
            self.trials.update({one.key: one for one in changed})

    def _differs(self, record: TrialRecord) -> bool:
        known = self.trials.get(record.key)
        return known is None or replace(known, at=record.at) != record


def study_of(ctx: RunContext, required: Requirements, weights: Mapping[str, float]) -> Study:
    """Return the study of a run. Runs of the same model, device, workload, texts, gates and weights share one."""
    texts = {name: text.identity for name, text in ctx.datasets.items()}
    needed = workload_demand(ctx.model, ctx.workload)
    return open_study(
        ctx.model.folder.name,
        {
            "model": ctx.source.identity,
            "device": ctx.device.fingerprint,
            **({"at": ctx.target_executor.name} if ctx.target_is_remote else {}),
            "workload": ctx.workload.to_json(),
            "requirements": {**required.to_json(), "weights": dict(weights)},
            "texts": texts,
            "edgehone": version("edgehone"),
            "asks": needed.to_json() if needed else None,
            **({"target": ctx.prediction_target.name} if ctx.prediction_target else {}),
        },
    )


def open_study(model: str, about: Mapping[str, Any]) -> Study:
    """Return the study of that model and content with the trials of earlier runs; create it if it is new.

    `about` identifies the search: digests of model and texts, device, workload, gates, weights.
    """
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{model}-{digest}"
    with _database() as database:
        database.execute(
            "insert or ignore into searches values (?, ?, ?, ?)",
            (name, json.dumps(about), _now(), time.time()),
        )
        return _studies(database, "where name = ?", name)[0]


def studies() -> list[Study]:
    """Return all studies, the most recently used last."""
    with _database() as database:
        return _studies(database)


def study(name: str) -> Study:
    """Return the study of that name. Raises InputError if there is none."""
    with _database() as database:
        if matching := _studies(database, "where name = ?", name):
            return matching[0]
        known = [row[0] for row in database.execute("select name from searches")]
    hint = suggest(name, known, "edgehone history lists them")
    raise InputError(f"no search {name!r} in the history", hint=hint)


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    """The history, for one transaction. Raises SetupError if it cannot be read or written."""
    path = _path()
    try:
        with closing(open_database(path, MIGRATIONS)) as database, database:
            yield database
    except sqlite3.Error as error:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        raise SetupError(
            f"the history {path} cannot be read or written: {error}",
            hint="free some space and run the same command again: finished jobs are kept"
            if full
            else home.HINT,
        ) from error


def _path() -> Path:
    return home.home() / "history.sqlite"


def _studies(database: sqlite3.Connection, condition: str = "", *values: str) -> list[Study]:
    rows = database.execute(
        f"select name, about, created from searches {condition} order by used", values
    ).fetchall()
    return [
        Study(name, {**json.loads(about), "created": created}, _trials(database, name))
        for name, about, created in rows
    ]


def _trials(database: sqlite3.Connection, search: str) -> dict[str, TrialRecord]:
    source = f"{_path()}: {search}"
    hint = f"the history was edited; move it away: mv {_path()} {_path()}.broken"
    rows = database.execute("select key, record from trials where search = ? order by rowid", (search,))
    return {
        key: typed_json.read(TrialRecord, json.loads(text), f"{source}: {key}", hint=hint)
        for key, text in rows
    }


def _record(trial: Trial) -> TrialRecord:
    return TrialRecord(
        key=trial.recipe.key,
        recipe=trial.recipe.to_json(),
        bits=trial.recipe.bits,
        calibrated=trial.recipe.calibrated,
        tried=trial.artifact is not None or trial.status == "failed",
        status=trial.status,
        error=trial.error,
        bytes=trial.bytes,
        figures={name: figure for name, figure in trial.figures.items() if figure.value is not None},
        facts={name: trial.facts[name] for name in _FACTS if name in trial.facts},
        at=_now(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
