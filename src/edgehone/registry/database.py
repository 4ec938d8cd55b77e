"""Open the database of a registry, bring its schema up to date, and tell its errors as edgehone's.

SQLite writes ahead (WAL) and waits for the disk at every commit (synchronous=FULL), so that a committed version
survives a power cut. A transaction that writes takes SQLite's write lock at its start; on PostgreSQL it locks the row
of the registry. So writers take turns, and events have one order.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from edgehone.core.errors import EdgehoneError, InputError, SetupError
from edgehone.execution.home import file_lock
from edgehone.registry.schema import REGISTRY, REVISION

# How long a statement waits for the write lock of another process.
BUSY_SECONDS = 30
_CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Database:
    """An open database. `label` is its file or URL, as messages show it; a password is not shown."""

    engine: Engine
    label: str
    file: Path | None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees the database as it is at the first statement."""
        options = {"writes": False}
        if self.file is None:
            options["isolation_level"] = "REPEATABLE READ"  # type: ignore[assignment]
        with self._told(), self.engine.connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection that no other writer runs beside; commit at the end, or roll back an error."""
        with self._told(), self.engine.begin() as connection:
            connection.execute(sa.select(REGISTRY.c.id).with_for_update())
            yield connection

    def _told(self) -> AbstractContextManager[None]:
        return _told(self.label, self.file)


def open_database(where: Path | str) -> Database:
    """Open the database at a path (SQLite) or a URL (PostgreSQL); create it or migrate it if necessary.

    Raises InputError if it is damaged or of a newer edgehone, SetupError if it cannot be reached or written.
    """
    file = where if isinstance(where, Path) else None
    url = sa.URL.create("sqlite", database=str(where)) if file else _url(str(where))
    label = str(file) if file else url.render_as_string(hide_password=True)
    database = Database(_engine(url, label), label, file)
    with _told(label, file):
        if _revision(database) != REVISION:
            _migrate(database)
    return database


def now() -> str:
    """Return the time in the form of the database."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except exc.ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "postgresql":
        raise InputError(
            f"--registry {text} is neither a folder nor the URL of a PostgreSQL database",
            hint="--registry FOLDER, or --registry postgresql://USER@HOST/DATABASE",
        )
    return url.set(drivername="postgresql+psycopg")


def _engine(url: sa.URL, label: str) -> Engine:
    lite = url.get_backend_name() == "sqlite"
    arguments = {"timeout": BUSY_SECONDS} if lite else {"connect_timeout": _CONNECT_SECONDS}
    try:
        engine = sa.create_engine(url, poolclass=NullPool, connect_args=arguments)
    except ModuleNotFoundError as error:
        raise SetupError(
            f"{label} needs the package {error.name}", hint="pip install 'edgehone[registry-postgres]'"
        ) from error
    if lite:
        sa.event.listen(engine, "connect", _prepare)
        sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, record: object) -> None:
    connection.isolation_level = None  # `_begin` begins transactions, not the driver
    for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        connection.execute(f"pragma {pragma}").close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", True)
    connection.exec_driver_sql("begin immediate" if writes else "begin")


def _revision(database: Database) -> str | None:
    if database.file is not None and not database.file.exists():
        return None
    with database.reading() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(sa.text("select version_num from alembic_version")).scalar()
    if found is not None and found > REVISION:
        raise InputError(
            f"{database.label} has schema version {found}; this edgehone reads versions up to {REVISION}",
            hint="upgrade edgehone, or name another registry with --registry",
        )
    return found


def _migrate(database: Database) -> None:
    """Apply the migrations that are missing, once, even if several processes open the database at the same time."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    lock: AbstractContextManager[Any] = nullcontext()
    if database.file:
        database.file.parent.mkdir(parents=True, exist_ok=True)
        lock = file_lock(database.file.with_name(database.file.name + ".lock"))
    with lock, database.engine.begin() as connection:
        if not database.file:
            connection.execute(sa.text("select pg_advisory_xact_lock(7306354)"))  # any number of ours
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if connection.execute(sa.select(REGISTRY.c.id)).first() is None:
            uid = secrets.token_hex(16)
            row = {"id": 1, "uid": uid, "created": now(), "events": 0, "head": genesis(uid)}
            connection.execute(REGISTRY.insert().values(row))


def genesis(uid: str) -> str:
    """Return what the first event of a registry has as the hash of the one before it."""
    import hashlib

    return hashlib.sha256(f"edgehone registry {uid}".encode()).hexdigest()


@contextmanager
def _told(label: str, file: Path | None) -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        raise _as_ours(str(error.orig), label, file) from error
    except exc.SQLAlchemyError as error:
        raise _as_ours(str(error), label, file) from error
    except (
        UnicodeDecodeError
    ) as error:  # SQLite's driver tells of damage in the words that it finds in the file
        raise _as_ours(f"it holds text that is no UTF-8: {error.object[:80]!a}", label, file) from error


def _as_ours(text: str, label: str, file: Path | None) -> EdgehoneError:
    text = " ".join(text.split())
    if file is None:
        hint = "check that the server runs and that the URL's user may use the database"
        return SetupError(f"the registry's database {label} cannot be used: {text}", hint=hint)
    if "is full" in text or "disk I/O" in text:
        hint = "free some space and run the same command again"
        return SetupError(f"no space left on the disk of {file.parent} for the database: {text}", hint=hint)
    if "locked" in text:
        hint = "run the same command again when the other process has finished"
        return SetupError(f"{label} was locked for {BUSY_SECONDS} s by another process", hint=hint)
    if any(word in text for word in ("unable to open", "readonly", "read-only")):
        return SetupError(
            f"{label} cannot be opened or written: {text}", hint="name another: --registry FOLDER"
        )
    return InputError(
        f"{label} is damaged or not a registry's database: {text}",
        hint=f"restore it from a backup, or move it away: mv {file} {file}.broken",
    )
