"""Fixtures of the surgery tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    """A calibration folder with ids that are valid in every model with a vocabulary of 2048."""
    folder = tmp_path / "calibration"
    folder.mkdir()
    (folder / "ids.json").write_text(json.dumps([(7 * i * i + 3) % 2000 + 10 for i in range(600)]))
    (folder / "bos.json").write_text("[1]")
    return folder


@pytest.fixture(autouse=True)
def _functions_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers import the functions in this folder."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
