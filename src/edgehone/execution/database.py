"""Open the SQLite databases that edgehone keeps under EDGEHONE_HOME.

They use a write-ahead log (WAL), so that several processes can read while one writes. The version of a database's
schema is in `PRAGMA user_version`: the number of migrations that have been applied to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from edgehone.core.errors import SetupError
from edgehone.execution.home import file_lock

# How long a statement waits for the write lock of another process.
BUSY_SECONDS = 30.0


def open_database(path: Path, migrations: Sequence[Sequence[str]]) -> sqlite3.Connection:
    """Open the database at `path`; create it, or bring its schema up to date, if necessary.

    `migrations[n]` is the statements that take the schema from version n to n + 1. Never change one that has been
    released; append another. Each is applied in one transaction, once, even if several processes open the database.
    Close the connection after use, and write inside `with connection:`, which commits or rolls back:

        with closing(open_database(path, MIGRATIONS)) as database, database:
            database.execute("insert into trials values (?, ?)", row)

    Raises SetupError if the file is not a database or was written by a newer version of edgehone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    except sqlite3.Error as error:  # a folder of this name, or a file that may not be read
        raise SetupError(
            f"{path} cannot be opened as a database: {error}", hint=f"move it away: mv {path} {path}.broken"
        ) from error
    try:
        connection.execute("pragma foreign_keys = on")
        if _version(connection) != len(migrations):
            # Switching to WAL needs an exclusive lock, for which SQLite does not always wait. A file lock does.
            with file_lock(path.with_name(path.name + ".lock")):
                _migrate(connection, path, migrations)
    except sqlite3.DatabaseError as error:
        connection.close()
        # An OperationalError (a full disk, a lock that is not released) says nothing against the file itself.
        broken = not isinstance(error, sqlite3.OperationalError)
        raise SetupError(
            f"{path} cannot be used as a database: {error}",
            hint=f"move it away: mv {path} {path}.broken" if broken else None,
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]]) -> None:
    version = _version(connection)
    if version > len(migrations):
        raise SetupError(
            f"{path} has schema version {version}; this edgehone reads versions up to {len(migrations)}",
            hint="upgrade edgehone, or set EDGEHONE_HOME to another folder",
        )
    connection.execute("pragma journal_mode = wal")
    for number, statements in enumerate(migrations[version:], version + 1):
        connection.execute("begin immediate")
        with connection:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"pragma user_version = {number}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("pragma user_version").fetchone()[0])
