"""What the tests of stages share."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..tiny import TINY


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An edgehone.toml with the workload `tiny`."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path
