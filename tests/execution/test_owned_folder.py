"""Temporary folders of processes that were killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgehone.execution.owned_folder import make_owned, owned_folder, remove_abandoned

_OWNER = """
from edgehone.execution.owned_folder import make_owned
print(make_owned().path, flush=True)
input()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    return place


@pytest.fixture
def owner(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has made such a folder."""
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def _made(owner: subprocess.Popen[str]) -> Path:
    assert owner.stdout
    folder = Path(owner.stdout.readline().strip())
    (folder / "log.txt").write_text("ready")
    return folder


def test_a_folder_goes_with_its_owner_or_after_it_was_killed(owner: subprocess.Popen[str]) -> None:
    folder = _made(owner)
    remove_abandoned()
    assert (folder / "log.txt").exists()
    owner.kill()
    owner.wait()
    remove_abandoned()
    assert not folder.exists()


def test_those_of_this_process_stay_until_it_removes_them(temporary: Path) -> None:
    one = make_owned()
    assert one.path.parent == temporary and one.path.stat().st_mode & 0o777 == 0o700
    remove_abandoned()
    assert one.path.is_dir()
    one.remove()
    with pytest.raises(ValueError, match="inside"), owned_folder("edgehone-state-") as path:
        assert path.name.startswith("edgehone-state-")
        raise ValueError("inside")
    assert not list(temporary.iterdir())


def test_folders_of_other_users_stay(owner: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _made(owner)
    owner.kill()
    owner.wait()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    remove_abandoned()
    assert (folder / "log.txt").exists()


def test_links_are_not_followed(owner: subprocess.Popen[str], temporary: Path) -> None:
    folder = _made(owner)
    elsewhere = folder.rename(temporary.with_name("elsewhere"))
    (temporary / "edgehone-link").symlink_to(elsewhere)
    owner.kill()
    owner.wait()
    remove_abandoned()
    assert (elsewhere / "log.txt").exists()


def test_what_was_not_made_so_stays(temporary: Path) -> None:
    (temporary / "edgehone-other").mkdir()
    (temporary / "edgehone-file").touch()
    (temporary / "edgehone-new").mkdir()
    (temporary / "edgehone-new" / ".owner.unlocked").touch()  # being made
    remove_abandoned()
    assert len(list(temporary.iterdir())) == 3


def test_no_room_leaves_nothing(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fcntl.flock", full)
    with pytest.raises(OSError, match="No space"):
        make_owned()
    assert not list(temporary.iterdir())
