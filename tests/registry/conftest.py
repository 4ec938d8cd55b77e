"""Fixtures of the tests of the registry."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgehone.registry.session import Registry, open_registry
from tests.disks import tmp_path
from tests.registry.bundles import Make, maker
from tests.registry.servers import oci_registry, postgres

__all__ = ["tmp_path"]  # a fixture

# One server for all tests that need one.
POSTGRES = [pytest.mark.whole, pytest.mark.xdist_group("postgres")]


@pytest.fixture
def bundle(spoiled: Path) -> Path:
    """A bundle of the null backend."""
    return spoiled


@pytest.fixture
def make(spoiled: Path, tmp_path: Path) -> Make:
    """Makes bundles that differ in their artifact."""
    return maker(spoiled, tmp_path)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty registry on SQLite."""
    return open_registry(str(tmp_path / "registry"))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=POSTGRES)])
def any_registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """An empty registry on each database."""
    return open_registry(*place_of(request, tmp_path))


def place_of(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path | None]:
    """Where an empty registry of the database `request.param` is to be, and its blobs."""
    if request.param == "sqlite":
        return str(tmp_path / "registry"), None
    url = request.getfixturevalue("postgres_url")
    return new_database(url), tmp_path / "blobs"


def new_database(url: str) -> str:
    """Create an empty database on the server of a URL and return its URL."""
    base = sa.make_url(url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(base, isolation_level="AUTOCOMMIT")
    name = f"test_{secrets.token_hex(6)}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"create database {name}")
    engine.dispose()
    return base.set(drivername="postgresql", database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of an OCI registry."""
    with oci_registry(tmp_path_factory.mktemp("docker")) as host:
        yield host


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server's database."""
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url
