"""Dropping files from the page cache, checked with mincore(2)."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.worker import page_cache

SIZE = 8 << 20

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux drops files from its page cache"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder on a real disk with a file that was just written and not synced, in a subfolder."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True)
    if kind.stdout.strip() in ("tmpfs", "ramfs"):
        pytest.skip("files of a file system in memory are always in memory")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "weights").write_bytes(os.urandom(SIZE))
    return tmp_path


@linux
def test_a_freshly_written_file_is_dropped_and_keeps_its_content(folder: Path) -> None:
    path = folder / "deep" / "weights"
    assert page_cache.cached_bytes(folder) == SIZE
    assert page_cache.drop(folder) is None
    assert page_cache.cached_bytes(folder) == 0
    content = path.read_bytes()
    assert len(content) == SIZE and page_cache.cached_bytes(folder) == SIZE


@linux
def test_without_writing_it_back_a_fresh_file_would_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    assert page_cache.drop(folder) == "100% of the artifact stayed in the page cache"


@linux
def test_a_file_that_a_process_has_mapped_stays_and_is_reported(folder: Path) -> None:
    with (folder / "deep" / "weights").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        assert sum(mapped[:: mmap.PAGESIZE]) > 0
        assert page_cache.drop(folder) == "100% of the artifact stayed in the page cache"
        mapped.close()
    assert page_cache.drop(folder) is None


@linux
def test_empty_files_and_folders_are_dropped(tmp_path: Path) -> None:
    assert page_cache.drop(tmp_path) is None
    (tmp_path / "empty").touch()
    assert page_cache.drop(tmp_path) is None and page_cache.cached_bytes(tmp_path) == 0


def test_a_system_without_the_call_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    assert page_cache.drop(tmp_path) == "this system has no call that drops a file from its page cache"
