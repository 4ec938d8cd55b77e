"""The tables of a registry's database. Migrations (`migrations/`) create them; a test compares the two.

Times are texts in UTC (`2026-11-27T14:03:00.000000+00:00`), so that they sort, and mean the same in every database.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect

from edgehone.core.errors import InputError

# The newest migration.
REVISION: Final = "0001"

METADATA = MetaData()


def _checked(value: Any, kind: type) -> Any:
    """Return a value of a column. Raises InputError for another type: SQLite keeps values of any type in any column."""
    if value is not None and type(value) is not kind:
        raise InputError(
            f"the registry's database is damaged: it holds {value!r} where {kind.__name__} is expected",
            hint="edgehone registry verify lists all damage; restore the database from a backup",
        )
    return value


class _Text(TypeDecorator[str]):
    """Text that is checked when it is read. Rows of versions and events are checked as a whole (`of_row`)."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Check a value."""
        return _checked(value, str)


class _Number(TypeDecorator[int]):
    """A whole number that is checked when it is read."""

    impl = Integer
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Check a value."""
        return _checked(value, int)


class _LargeNumber(_Number):
    """The same of 64 bits."""

    impl = BigInteger
    cache_ok = True


# One row: the registry's own id, which its folder of blobs repeats, and the last event.
REGISTRY = Table(
    "registry",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("uid", _Text, nullable=False),
    Column("created", _Text, nullable=False),
    Column("events", _Number, nullable=False),
    Column("head", _Text, nullable=False),
)

# `digest` is that of the OCI manifest. `approval` is yes, conditional or no. `removed`: when its files were given up.
VERSIONS = Table(
    "versions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("pushed", Text, nullable=False),
    Column("pushed_by", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("approval", Text, nullable=False),
    Column("signed_by", Text),
    Column("facts", Text, nullable=False),
    Column("removed", Text),
    UniqueConstraint("name", "number", name="one_version_of_a_number"),
    UniqueConstraint("name", "digest", name="one_version_of_a_bundle"),
)

# The blobs that a version needs: the files of the bundle by path, and its config and manifest by their names below.
FILES = Table(
    "files",
    METADATA,
    Column("version", _Number, ForeignKey("versions.id"), primary_key=True),
    Column("path", _Text, primary_key=True),
    Column("digest", _Text, nullable=False),
    Column("size", _LargeNumber, nullable=False),
    Index("files_by_digest", "digest"),
)
# No file of a bundle has a name with a colon at its start.
MANIFEST: Final = ":manifest"
CONFIG: Final = ":config"

ALIASES = Table(
    "aliases",
    METADATA,
    Column("name", _Text, primary_key=True),
    Column("alias", _Text, primary_key=True),
    Column("version", _Number, ForeignKey("versions.id"), nullable=False),
    Column("event", _Number, nullable=False),
)

# Where versions were pushed to or pulled from: a registry there can mount their blobs from one repository to another.
COPIES = Table(
    "copies",
    METADATA,
    Column("version", _Number, ForeignKey("versions.id"), primary_key=True),
    Column("host", _Text, primary_key=True),
    Column("repository", _Text, primary_key=True),
    Column("tag", _Text, primary_key=True),
)

# `detail` is JSON; its text is what the hash covers.
EVENTS = Table(
    "events",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("alias", Text),
    Column("number", Integer),
    Column("digest", Text),
    Column("detail", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("events_by_name", "name", "alias", "seq"),
)
