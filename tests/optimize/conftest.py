"""Fixtures of the tests of whole runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import sshd
from tests.rates import know_rates
from tests.tiny import TINY


@pytest.fixture(autouse=True)
def _warm(request: pytest.FixtureRequest) -> None:
    """Jobs of the null backend start warm."""
    if request.node.get_closest_marker("real") is None:
        request.getfixturevalue("warm_null")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An edgehone.toml with the workload `tiny`."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sshd.SshServer]:
    """An SSH server on this machine, with an EDGEHONE_HOME of its own."""
    made = sshd.make(tmp_path / "host", monkeypatch)
    know_rates(made.home)
    made.start()
    yield made
    made.stop()
