"""SQLite databases: created, migrated once by whichever process comes first, refused if newer or broken."""

from __future__ import annotations

import multiprocessing
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edgehone.core.errors import SetupError
from edgehone.execution.database import open_database

FIRST = ("create table trials (name text primary key)", "insert into trials values ('first')")
SECOND = ("alter table trials add column seconds real",)


def names(path: Path) -> list[str]:
    with closing(open_database(path, [FIRST])) as database:
        return [row[0] for row in database.execute("select name from trials order by name")]


def test_it_is_created_with_a_write_ahead_log_and_its_content_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.sqlite"
    with closing(open_database(path, [FIRST])) as database, database:
        assert database.execute("pragma journal_mode").fetchone()[0] == "wal"
        database.execute("insert into trials values ('second')")
    assert names(path) == ["first", "second"]


def test_only_the_missing_migrations_are_applied(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    open_database(path, [FIRST]).close()
    for _ in range(2):
        with closing(open_database(path, [FIRST, SECOND])) as database:
            assert database.execute("select name, seconds from trials").fetchall() == [("first", None)]


def test_a_failed_migration_is_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    open_database(path, [FIRST]).close()
    with pytest.raises(SetupError, match="cannot be used as a database: no such table: absent"):
        open_database(path, [FIRST, ("delete from trials", "insert into absent values (1)")])
    assert names(path) == ["first"]


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    open_database(path, [FIRST, SECOND]).close()
    with pytest.raises(SetupError, match="schema version 2; this edgehone reads versions up to 1"):
        open_database(path, [FIRST])


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.write_text("not a database, and longer than the header of one " * 20)
    with pytest.raises(SetupError, match="file is not a database") as caught:
        open_database(path, [FIRST])
    assert caught.value.hint == f"move it away: mv {path} {path}.broken"


def test_a_folder_of_the_same_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.mkdir()
    with pytest.raises(SetupError, match="unable to open database file"):
        open_database(path, [FIRST])


def insert(path: Path, number: int) -> None:
    with closing(open_database(path, [FIRST])) as database, database:
        database.execute("insert into trials values (?)", (f"process {number}",))


def test_several_processes_create_it_once_and_write_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=insert, args=(path, number)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert names(path) == ["first", *(f"process {number}" for number in range(8))]


def test_an_uncommitted_change_is_not_seen_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with (
        closing(open_database(path, [FIRST])) as database,
        pytest.raises(sqlite3.IntegrityError),
        database,
    ):
        database.execute("insert into trials values ('second')")
        database.execute("insert into trials values ('first')")
    assert names(path) == ["first"]
