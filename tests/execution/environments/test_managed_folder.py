"""A folder is whole or not there, and damage is noticed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import JobError
from edgehone.execution.environments import managed_folder
from edgehone.execution.home import file_lock
from edgehone.execution.processes import CHILDREN

NAMES = st.text("abcé ._-", min_size=1, max_size=8).filter(lambda name: name.strip(".") != "")


def fill(folder: Path) -> Mapping[str, str]:
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_bytes(b"12345")
    (folder / "link").symlink_to("sub")
    (folder / "dangling").symlink_to("/nowhere")
    return {"thing": "1"}


def make(place: Path) -> managed_folder.FolderState:
    return managed_folder.create(place / "it", place / "lock", fill, managed_folder.check, lambda what: None)


def test_made_and_found_alike(tmp_path: Path) -> None:
    assert managed_folder.check(tmp_path / "it").state == "missing"
    assert make(tmp_path) == managed_folder.check(tmp_path / "it")
    assert managed_folder.check(tmp_path / "it").versions == {"thing": "1"}


def test_what_raises_leaves_nothing_and_what_was_there_stays(tmp_path: Path) -> None:
    def fail(folder: Path) -> Mapping[str, str]:
        (folder / "half").touch()
        raise ValueError("no")

    make(tmp_path)
    (tmp_path / "it" / "link").unlink()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="no"):
        managed_folder.create(
            tmp_path / "it", tmp_path / "lock", fail, managed_folder.check, lambda what: None
        )
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("lost", ["sub/file", "link", "dangling"])
def test_whatever_is_lost_is_named(lost: str, tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "it" / lost).unlink()
    found = managed_folder.check(tmp_path / "it")
    assert found.state == "broken" and found.reason == f"{tmp_path / 'it' / lost} is missing"


def test_what_was_left_half_made_is_swept_whatever_its_digest(tmp_path: Path) -> None:
    ours = [f"tiny-{digest}.partial-x" for digest in ("0123456789ab", "ba9876543210")]
    theirs = ["tiny-too-0123456789ab.partial-x", "tiny-0123456789ab"]
    for name in (*ours, *theirs):
        (tmp_path / name / "sub").mkdir(parents=True)
    managed_folder.create(
        tmp_path / "tiny-aaaaaaaaaaaa", tmp_path / "lock", fill, managed_folder.check, lambda what: None
    )
    assert {place.name for place in tmp_path.glob("tiny*")} == {*theirs, "tiny-aaaaaaaaaaaa"}


def test_a_file_in_the_place_of_the_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "it").write_text("in the way")
    assert managed_folder.check(tmp_path / "it").state == "broken"
    assert make(tmp_path).state == "ready"
    assert list(tmp_path.glob("it.*")) == []


@given(st.dictionaries(NAMES, st.binary(max_size=20), min_size=1, max_size=5), st.data())
def test_any_file_of_another_size_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], data: st.DataObject
) -> None:
    def fill(folder: Path) -> Mapping[str, str]:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return {}

    place = tmp_path_factory.mktemp("made")
    found = managed_folder.create(place / "it", place / "lock", fill, managed_folder.check, lambda what: None)
    assert found.bytes == sum(map(len, files.values()))
    (place / "it" / "came later").write_text("does no harm")
    assert managed_folder.check(place / "it").state == "ready"
    changed = data.draw(st.sampled_from(sorted(files)))
    (place / "it" / changed).write_bytes(files[changed] + b"!")
    assert managed_folder.check(place / "it").state == "broken"


def test_whoever_waits_for_another_is_ended_by_ctrl_c(tmp_path: Path) -> None:
    waiting = threading.Event()
    arguments = (tmp_path / "it", tmp_path / "lock", fill, managed_folder.check, lambda what: waiting.set())
    with file_lock(tmp_path / "lock"), pytest.raises(KeyboardInterrupt), CHILDREN.pool(1) as pool:
        made_there = pool.submit(managed_folder.create, *arguments)
        assert waiting.wait(30)
        raise KeyboardInterrupt
    assert isinstance(made_there.exception(), JobError)
    assert not (tmp_path / "it").exists()
