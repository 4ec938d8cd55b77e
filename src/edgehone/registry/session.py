"""An open registry, and the versions in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.execution.home import home
from edgehone.registry.blobs import Blobs
from edgehone.registry.database import Database, open_database
from edgehone.registry.names import Reference
from edgehone.registry.schema import ALIASES, REGISTRY, VERSIONS

if TYPE_CHECKING:
    from edgehone.registry.modelpack import File

DATABASE: Final = "registry.sqlite"
_FACTS: Final = list(VERSIONS.c.keys()).index("facts")
# The types of a row; SQLite keeps values of any type in any column.
_ROW: Final = tuple[int, str, int, str, str, str, int, str, str | None, str, str | None]
# The facts that lists show.
_SHOWN: Final = frozenset(("backend", "recipe", "model", "device"))


@dataclass(frozen=True)
class Registry:
    """An open registry: its id, its database and its blobs."""

    uid: str
    database: Database
    blobs: Blobs


class Version(NamedTuple):
    """A version of a bundle: a row of the table. `digest` is that of its OCI manifest, `facts` are from `facts.py`.

    A named tuple, since lists make 10,000 of them.
    """

    id: int
    name: str
    number: int
    digest: str
    pushed: str
    pushed_by: str
    size: int
    approval: str
    signed_by: str | None
    facts: Mapping[str, Any]
    removed: str | None

    @property
    def reference(self) -> str:
        """The version as a user names it."""
        return f"{self.name}:{self.number}"

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict, without the id of the row."""
        fields = (
            "name",
            "number",
            "digest",
            "pushed",
            "pushed_by",
            "size",
            "approval",
            "signed_by",
            "removed",
        )
        return {**{field: getattr(self, field) for field in fields}, "facts": dict(self.facts)}


def default_folder() -> Path:
    """Return the folder of the registry that is used unless another is named."""
    return home() / "registry"


def open_registry(where: str | None = None, blobs: Path | None = None) -> Registry:
    """Open a registry, and make it if it does not exist.

    `where` is a folder (SQLite and blobs in it) or the URL of a PostgreSQL database, whose blobs are in the folder
    `blobs`. Default: `default_folder`. Raises InputError if it is damaged, SetupError if it cannot be used.
    """
    if where is not None and "://" in where:
        folder, database = blobs or default_folder(), open_database(where)
    else:
        base = Path(where).expanduser().absolute() if where is not None else default_folder()
        folder = blobs or base
        database = open_database(_file_in(base))
    with database.reading() as connection:
        uid = connection.execute(sa.select(REGISTRY.c.uid)).scalar_one()
    store = Blobs(folder.absolute())
    store.belong_to(uid)
    return Registry(uid, database, store)


def _file_in(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"--registry {folder} is a file", hint="name a folder, or a URL of a PostgreSQL database"
        )
    file = folder / DATABASE
    if not file.exists() and folder.is_dir() and (folder / "registry.json").exists():
        raise InputError(
            f"{file} is missing, but {folder} holds the blobs of a registry",
            hint=f"restore {file} from a backup, or name another registry with --registry",
        )
    return file


def find(connection: Connection, reference: Reference) -> Version:
    """Return the version that a reference names. Raises InputError if there is none."""
    where = [VERSIONS.c.name == reference.name]
    if reference.number is not None:
        where.append(VERSIONS.c.number == reference.number)
    elif reference.digest is not None:
        where.append(VERSIONS.c.digest == reference.digest)
    elif reference.alias is not None:
        where.append(VERSIONS.c.id == _of_alias(reference))
    else:
        where.append(VERSIONS.c.removed.is_(None))
    row = connection.execute(sa.select(VERSIONS).where(*where).order_by(VERSIONS.c.number.desc())).first()
    if row is None:
        raise _unknown(connection, reference)
    return of_row(row)


def _of_alias(reference: Reference) -> sa.ScalarSelect[Any]:
    chosen = (ALIASES.c.name == reference.name, ALIASES.c.alias == reference.alias)
    return sa.select(ALIASES.c.version).where(*chosen).scalar_subquery()


def _unknown(connection: Connection, reference: Reference) -> InputError:
    names = connection.execute(sa.select(VERSIONS.c.name).distinct()).scalars().all()
    if reference.name not in names:
        hint = suggest(reference.name, names, "edgehone registry list")
        return InputError(f"the registry has no model {reference.name!r}", hint=hint)
    if reference.alias:
        found = connection.execute(sa.select(ALIASES.c.alias).where(ALIASES.c.name == reference.name))
        aliases = ", ".join(found.scalars()) or "none"
        return InputError(
            f"{reference.name} has no alias {reference.alias!r}; it has: {aliases}",
            hint=f"edgehone registry alias {reference.name} {reference.alias} VERSION --why TEXT",
        )
    return InputError(
        f"the registry has no version {reference}", hint=f"edgehone registry list {reference.name}"
    )


def of_row(row: Any) -> Version:
    """Return the version in a row of the table. Raises InputError if the row is not as edgehone writes it."""
    try:
        values: list[Any] = list(msgspec.convert(tuple(row), _ROW))
        values[_FACTS] = facts = msgspec.json.decode(values[_FACTS], type=dict[str, Any])
        if missing := _SHOWN - facts.keys():
            raise ValueError(f"its facts lack {min(missing)}")
    except ValueError as error:
        raise InputError(
            f"the version {row.name}:{row.number} in the registry's database is damaged: {error}",
            hint="edgehone registry verify lists all damage; restore the database from a backup",
        ) from error
    return Version._make(values)


def manifest_of(registry: Registry, version: Version) -> tuple[dict[str, Any], list[File]]:
    """Return the config's descriptor and the files of a version, from its OCI manifest.

    Raises InputError if its files were given up, or the manifest is missing or damaged.
    """
    if version.removed:
        raise InputError(
            f"the files of {version.reference} were removed on {version.removed[:10]}",
            hint="push the bundle again, or pull it from a registry that has it",
        )
    from edgehone.registry.modelpack import parse

    return parse(registry.blobs.read_bytes(version.digest), version.reference)
