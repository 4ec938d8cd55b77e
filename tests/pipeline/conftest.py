"""A pipeline of the null backend that has run through, once per test run, and copies of its folder to change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.disks import tmp_path
from tests.once import filled_once
from tests.pipeline.nullpipeline import STAGES, Place, outcomes, whole

__all__ = ["tmp_path"]  # a fixture


@pytest.fixture(scope="session")
def _done(tmp_path_factory: pytest.TempPathFactory) -> Place:
    def fill(folder: Path) -> None:
        done = whole(folder).run("run", "whole.yaml", "--out", "run", "--json")
        assert done.returncode == 0, done.stderr[-4000:]
        assert outcomes(done) == dict.fromkeys(STAGES, "passed")

    folder = filled_once(tmp_path_factory, "pipeline", fill)
    return Place(folder, folder / "home")


@pytest.fixture
def done(_done: Place, tmp_path: Path) -> Place:
    """A copy of the folder of a pipeline whose six stages have passed."""
    copy = Path(shutil.copytree(_done.path, tmp_path / "place", symlinks=True))
    return Place(copy, copy / "home")
