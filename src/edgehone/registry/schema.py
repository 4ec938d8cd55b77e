"""The tables of a registry's database. Migrations (`migrations/`) create them; a test compares the two.

Times are texts in UTC (`2026-11-27T14:03:00.000000+00:00`), so that they sort, and mean the same in every database.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

# The newest migration.
REVISION: Final = "0001"

METADATA = MetaData()

# One row: the registry's own id, which its folder of blobs repeats, and the last event.
REGISTRY = Table(
    "registry",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("events", Integer, nullable=False),
    Column("head", Text, nullable=False),
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
    Column("version", Integer, ForeignKey("versions.id"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Index("files_by_digest", "digest"),
)
# No file of a bundle has a name with a colon at its start.
MANIFEST: Final = ":manifest"
CONFIG: Final = ":config"

ALIASES = Table(
    "aliases",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version", Integer, ForeignKey("versions.id"), nullable=False),
    Column("event", Integer, nullable=False),
)

# Where versions were pushed to or pulled from: a registry there can mount their blobs from one repository to another.
COPIES = Table(
    "copies",
    METADATA,
    Column("version", Integer, ForeignKey("versions.id"), primary_key=True),
    Column("host", Text, primary_key=True),
    Column("repository", Text, primary_key=True),
    Column("tag", Text, primary_key=True),
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
