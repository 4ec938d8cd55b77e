"""Folders for tests: one in memory, and file systems of a few bytes for tests of a full disk."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30  # bytes
_DAY = 24 * 3600.0


@contextmanager
def small_file_system(place: Path, size: str) -> Iterator[Path]:
    """Mount a file system of a size ("64k") at a folder, which is made if it is missing; skip where that is refused."""
    place.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "edgehone", str(place)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def folder_in_memory(name: str = "edgehone") -> Iterator[Path]:
    """Make a folder in memory, where nothing waits for a disk; on the disk where memory is short."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}_", dir=_parent()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _parent() -> Path | None:
    """Return the folder in memory, without what killed test runs left a day ago; None for the disk."""
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ROOM:
        return None
    parent = _MEMORY / f"edgehone-tests-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    for left in parent.iterdir():
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _DAY:
                shutil.rmtree(left, ignore_errors=True)
    return parent


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory, for tests that wait for the disk hundreds of times: commits of a database, files of jobs.

    A killed process loses nothing there. Real runtimes, whose memory is measured, get a folder on the disk.
    """
    name = re.sub(r"\W", "_", request.node.name)[:30]
    if request.node.get_closest_marker("real"):
        yield tmp_path_factory.mktemp(name)
        return
    with folder_in_memory(name) as folder:
        yield folder
