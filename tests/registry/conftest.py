"""Fixtures of the tests of the registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgehone.registry.session import Registry, open_registry
from tests.registry.bundles import Make, maker
from tests.registry.servers import oci_registry, postgres


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
