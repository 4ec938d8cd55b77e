from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from edgehone.core.errors import ModelError
from edgehone.model.digest import digest_file, digest_folder, digest_model
from edgehone.model.inspect import inspect


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"abc" * 10**6)
    assert digest_file(file) == hashlib.sha256(b"abc" * 10**6).hexdigest()


def test_the_cache_is_used_while_the_file_is_unchanged(tmp_path: Path) -> None:
    file, cache = tmp_path / "x", tmp_path / "cache"
    file.write_bytes(b"one")
    first = digest_file(file, cache)
    status = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_file(file, cache) == first  # size, time and inode as before: the remembered answer
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert digest_file(file, cache) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("junk", ["", "[]", "{", '{"state": [3], "sha256": "x"}', '{"state": null}'])
def test_a_damaged_cache_entry_is_recomputed(tmp_path: Path, junk: str) -> None:
    file, cache = tmp_path / "x", tmp_path / "cache"
    file.write_bytes(b"one")
    right = digest_file(file, cache)
    for entry in cache.iterdir():
        entry.write_text(junk)
    assert digest_file(file, cache) == right
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"one")
    (tmp_path / "file").write_bytes(b"")
    assert digest_file(tmp_path / "x", tmp_path / "file") == hashlib.sha256(b"one").hexdigest()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lost"):
        digest_file(tmp_path / "lost")


def test_a_model_digest_follows_what_determines_the_output(folder: Path, tmp_path: Path) -> None:
    first = digest_model(inspect(folder))
    (folder / "README.md").write_text("words")
    assert digest_model(inspect(folder), tmp_path / "cache") == first
    (folder / "generation_config.json").write_text("{}")
    assert digest_model(inspect(folder)) != first


def test_a_model_digest_does_not_depend_on_the_path(folder: Path, tmp_path: Path) -> None:
    first = digest_model(inspect(folder))
    assert digest_model(inspect(folder.rename(tmp_path / "elsewhere"))) == first


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "x").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"2")
    assert digest_folder(tmp_path) == {
        "a": hashlib.sha256(b"2").hexdigest(),
        "b/c/x": hashlib.sha256(b"1").hexdigest(),
    }
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(ModelError, match="dangling"):
        digest_folder(tmp_path)
