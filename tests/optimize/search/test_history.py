"""The history: what is recorded is read again, whatever happens to the process, the disk or the file meanwhile."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.base import Recipe
from edgehone.core.errors import InputError, SetupError
from edgehone.core.figure import Figure
from edgehone.execution.database import open_database
from edgehone.optimize.search import history
from edgehone.optimize.trial import Trial

FORK = multiprocessing.get_context("fork")


def trial(name: str, **known: Any) -> Trial:
    return Trial(Recipe("null", name, settings={"threads": 2}), **known)


def rows(home: Path) -> int:
    with closing(sqlite3.connect(home / "history.sqlite")) as database:
        return int(database.execute("select count(*) from trials").fetchone()[0])


def test_trials_are_read_as_they_were_last_recorded_in_the_order_of_the_first_record(own_home: Path) -> None:
    study = history.open_study("model", {"gates": [1]})
    figures = {"ttft_ms": Figure(2.0, 1.0, 3.0, 4, "ms"), "energy_j": Figure.missing("no counter")}
    study.record(trial("q8"), trial("q4", status="failed", error="out of memory"))
    study.record(trial("q8", bytes=7, figures=figures, facts={"build_seconds": 1.5, "other": 2}))
    again = history.open_study("model", {"gates": [1]})
    assert list(again.trials) == ["null/q8", "null/q4"]
    assert again.order == ["null/q4"]
    q8 = again.trials["null/q8"]
    assert (q8.bytes, q8.figures, q8.facts) == (7, {"ttft_ms": figures["ttft_ms"]}, {"build_seconds": 1.5})
    assert again.trials == study.trials and again.name == study.name and again.about["gates"] == [1]


def test_what_has_not_changed_is_not_written(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = history.open_study("model", {})
    study.record(trial("q8"))
    monkeypatch.setattr(history, "_database", pytest.fail)
    study.record(trial("q8"))


def test_another_content_is_another_study_and_the_last_used_is_listed_last(own_home: Path) -> None:
    first = history.open_study("model", {"gates": 1})
    second = history.open_study("model", {"gates": 2})
    assert [study.name for study in history.studies()] == [first.name, second.name]
    first.record(trial("q8"))
    assert [study.name for study in history.studies()] == [second.name, first.name]
    assert list(history.study(first.name).trials) == ["null/q8"]


def write_until_killed(written: Any) -> None:
    study = history.open_study("model", {})
    for number in range(100_000):
        study.record(trial(f"q{number}"), trial(f"p{number}"))
        written.value = number + 1


def test_a_killed_writer_loses_at_most_the_record_it_was_writing(own_home: Path) -> None:
    written = FORK.Value("i", 0)
    writer = FORK.Process(target=write_until_killed, args=(written,))
    writer.start()
    while written.value < 20:
        assert writer.is_alive()
        time.sleep(0.001)
    os.kill(int(writer.pid or 0), signal.SIGKILL)
    writer.join()
    study = history.open_study("model", {})
    # Both trials of a record or none: it is one transaction.
    assert len(study.trials) in (2 * written.value, 2 * written.value + 2)
    study.record(trial("after"))
    assert "null/after" in history.open_study("model", {}).trials


def write(name: str) -> None:
    study = history.open_study("model", {})
    for number in range(20):
        study.record(trial(f"{name}{number}"), trial("shared", bytes=number))


def test_two_runs_of_one_search_record_at_the_same_time(own_home: Path) -> None:
    writers = [FORK.Process(target=write, args=(name,)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    [study] = history.studies()
    assert set(study.trials) == {"null/shared", *(f"null/{name}{n}" for name in "ab" for n in range(20))}
    assert study.trials["null/shared"].bytes == 19


def test_a_full_disk_is_reported_and_what_was_recorded_stays(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = history.open_study("model", {})
    study.record(trial("q8"))

    def full(*arguments: Any) -> sqlite3.Connection:
        database = open_database(*arguments)
        database.execute("pragma max_page_count = 1")  # SQLite raises it to the present size of the file
        return database

    with monkeypatch.context() as patch:
        patch.setattr(history, "open_database", full)
        with pytest.raises(SetupError, match=r"history\.sqlite cannot .*database or disk is full") as caught:
            study.record(*(trial(f"q{number}", error="x" * 1000) for number in range(100)))
    assert caught.value.hint and "free some space" in caught.value.hint
    assert list(history.open_study("model", {}).trials) == ["null/q8"] == list(study.trials)


def without_rights(home: Path, outcome: Any) -> None:
    os.setuid(65534)
    try:
        history.studies()
    except SetupError as error:
        outcome.put((error.message, error.hint))
    else:
        outcome.put(("read", None))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give up its rights in a child process")
@pytest.mark.parametrize("read_only", ["history.sqlite", "."])
def test_a_read_only_home_is_reported(own_home: Path, read_only: str) -> None:
    history.open_study("model", {})
    for path in own_home.parents:
        if path.stat().st_uid == 0 and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    own_home.chmod(0o777)
    (own_home / "history.sqlite").chmod(0o666)
    (own_home / read_only).chmod(0o555)
    outcome = FORK.Queue()
    reader = FORK.Process(target=without_rights, args=(own_home, outcome))
    reader.start()
    message, hint = outcome.get(timeout=60)
    reader.join()
    if read_only == ".":
        assert str(own_home) in message and "cannot be written" in message
    else:
        assert message == "read" or str(own_home / "history.sqlite") in message
    assert message == "read" or "EDGEHONE_HOME" in hint


def test_a_history_of_a_newer_edgehone_is_refused(own_home: Path) -> None:
    history.open_study("model", {})
    with closing(sqlite3.connect(own_home / "history.sqlite")) as database, database:
        database.execute("pragma user_version = 99")
    with pytest.raises(SetupError, match="schema version 99"):
        history.studies()


def test_a_history_of_an_older_schema_is_migrated(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history.open_study("model", {}).record(trial("q8"))
    newer = (*history.MIGRATIONS, ("alter table trials add column note text default 'none'",))
    monkeypatch.setattr(history, "MIGRATIONS", newer)
    assert list(history.open_study("model", {}).trials) == ["null/q8"]
    with closing(sqlite3.connect(own_home / "history.sqlite")) as database:
        assert database.execute("select note from trials").fetchall() == [("none",)]


def test_the_files_of_older_versions_are_ignored(own_home: Path) -> None:
    (own_home / "history").mkdir(parents=True)
    (own_home / "history" / "model-00000000.jsonl").write_text(json.dumps({"about": {}, "created": ""}))
    assert history.studies() == []


@pytest.mark.parametrize(
    "edit",
    [lambda record: record.pop("status"), lambda record: record.update(status="fine")],
)
def test_an_edited_record_is_refused_with_its_location(own_home: Path, edit: Callable[[Any], None]) -> None:
    study = history.open_study("model", {})
    study.record(trial("q8"))
    record = study.trials["null/q8"].to_json()
    edit(record)
    with closing(sqlite3.connect(own_home / "history.sqlite")) as database, database:
        database.execute("update trials set record = ?", (json.dumps(record),))
    with pytest.raises(InputError, match=rf"history\.sqlite: {study.name}: null/q8.*status") as caught:
        history.studies()
    assert caught.value.hint and "mv " in caught.value.hint


def test_a_file_that_is_no_database_is_refused(own_home: Path) -> None:
    own_home.mkdir(exist_ok=True)
    (own_home / "history.sqlite").write_text("no database" * 200)
    with pytest.raises(SetupError, match=r"history\.sqlite cannot be used as a database"):
        history.studies()


def test_a_folder_in_the_place_of_the_database_is_reported(own_home: Path) -> None:
    (own_home / "history.sqlite").mkdir(parents=True)
    with pytest.raises(SetupError, match=r"history\.sqlite"):
        history.studies()


def test_an_unknown_study_is_reported_with_the_closest_name(own_home: Path) -> None:
    study = history.open_study("model", {})
    with pytest.raises(InputError, match=f"no search '{study.name}x'") as caught:
        history.study(f"{study.name}x")
    assert caught.value.hint and study.name in caught.value.hint
