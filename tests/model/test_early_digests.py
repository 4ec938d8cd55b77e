"""Files that are hashed early: read once, and their digests taken only while they are what was read."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from edgehone.attestation.files import read_files
from edgehone.model import early_digests
from edgehone.model.digest import digest_file
from edgehone.model.early_digests import hashing

SIZE = 3 << 20


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "model" / name for name in ("large.bin", "larger.bin", "small.bin")]
    made[0].parent.mkdir()
    for number, (path, size) in enumerate(zip(made, (SIZE, 2 * SIZE + 1, 9), strict=True)):
        path.write_bytes(bytes([number]) * size)
    return made


def _right(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_whoever_verifies_a_file_gets_what_was_hashed_early(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_digests, "_BLOCK", 1 << 20)
    right = {path.name: _right(path) for path in files}
    read = []
    whole = hashlib.file_digest

    def counted(file: object, name: str) -> object:
        read.append(Path(f"/proc/self/fd/{file.fileno()}").readlink().name)  # type: ignore[attr-defined]
        return whole(file, name)  # type: ignore[arg-type]

    with hashing(files):
        monkeypatch.setattr(hashlib, "file_digest", counted)
        assert {path.name: digest_file(path) for path in files} == right
        assert read_files(files[0].parent).digests == right
        assert read == ["small.bin"] * 2  # not worth a thread
    assert {path.name: digest_file(path) for path in files} == right
    assert sorted(read[2:]) == sorted(right)  # nothing is known after the context


@pytest.mark.parametrize("change", ["written", "replaced", "grown"])
def test_a_file_that_changed_since_is_read(files: list[Path], change: str) -> None:
    changed = files[0]
    with hashing(files):
        old = digest_file(changed)
        status = changed.stat()
        if change == "replaced":
            files[1].replace(changed)
        else:
            with changed.open("r+b") as file:
                file.seek(0, os.SEEK_END if change == "grown" else os.SEEK_SET)
                file.write(b"other")
            os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))  # the time of change stays true
        assert (
            digest_file(changed) == read_files(changed.parent).digests["large.bin"] == _right(changed) != old
        )


def test_what_cannot_be_hashed_early_is_left_to_who_asks(tmp_path: Path) -> None:
    pipe, link, real = tmp_path / "pipe", tmp_path / "link", tmp_path / "real"
    os.mkfifo(pipe)
    real.write_bytes(b"1" * SIZE)
    link.symlink_to(real)
    with hashing([pipe, link, tmp_path / "missing", tmp_path]):
        assert not early_digests._BEGUN
        assert digest_file(link) == _right(real)


def test_a_file_that_fails_while_it_is_hashed_is_read_again(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(early_digests, "open_regular", fails)
    with hashing(files):
        assert digest_file(files[1]) == _right(files[1])


def test_without_room_for_a_thread_files_are_read(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fails)
    with hashing(files):
        assert digest_file(files[1]) == _right(files[1])


def test_leaving_the_context_ends_the_hashing(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_digests, "_BLOCK", 4096)
    with hashing(files):
        readings = list(early_digests._BEGUN.values())
    for one in readings:
        assert one.done.wait(60)
        assert one.digest in (None, _right(one.path))
    assert not early_digests._BEGUN
