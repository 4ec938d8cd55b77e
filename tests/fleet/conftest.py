"""Fixtures of the tests of fleets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import tmp_path
from tests.finished import Finished
from tests.fleet.fleets import Fleet
from tests.registry.bundles import maker
from tests.registry.servers import oci_registry

__all__ = ["tmp_path"]  # a fixture


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of an OCI registry."""
    with oci_registry(tmp_path_factory.mktemp("docker")) as host:
        yield host


@pytest.fixture
def fleet(finished: Finished, docker: str, tmp_path: Path) -> Fleet:
    """A fleet of the null backend's bundle, with a repository of its own."""
    return Fleet(docker, tmp_path / "fleet", maker(finished.bundle, tmp_path))
