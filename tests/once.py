"""Folders that are filled once per test run, by the first of pytest-xdist's worker processes that needs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgehone.execution.home import file_lock


def filled_once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], None]) -> Path:
    """Return the test run's folder `name`, after `fill` was called with it in this process or another one.

    If `fill` raises, the next process that asks calls it again, with an empty folder.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker has a folder of its own in that of the run
    folder, finished = base / "shared" / name, base / "shared" / f"{name}.finished"
    with file_lock(base / "shared" / f"{name}.lock"):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            fill(folder)
            finished.touch()
    return folder
