"""Managed folders: complete or absent, and checked for damage."""

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


def create(tmp_path: Path) -> managed_folder.FolderState:
    return managed_folder.create(
        tmp_path / "it", tmp_path / "lock", fill, managed_folder.check, lambda doing: None
    )


def test_the_state_of_a_created_folder_is_that_of_a_later_check(tmp_path: Path) -> None:
    assert managed_folder.check(tmp_path / "it").state == "missing"
    assert create(tmp_path) == managed_folder.check(tmp_path / "it")
    assert managed_folder.check(tmp_path / "it").versions == {"thing": "1"}


def test_an_error_leaves_nothing_behind_and_keeps_the_previous_folder(tmp_path: Path) -> None:
    def fail(folder: Path) -> Mapping[str, str]:
        (folder / "half").touch()
        raise ValueError("no")

    create(tmp_path)
    (tmp_path / "it" / "link").unlink()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="no"):
        managed_folder.create(
            tmp_path / "it", tmp_path / "lock", fail, managed_folder.check, lambda doing: None
        )
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("lost", ["sub/file", "link", "dangling"])
def test_a_missing_file_or_link_is_named(lost: str, tmp_path: Path) -> None:
    create(tmp_path)
    (tmp_path / "it" / lost).unlink()
    found = managed_folder.check(tmp_path / "it")
    assert found.state == "broken" and found.reason == f"{tmp_path / 'it' / lost} is missing"


def test_incomplete_folders_of_the_name_are_removed_whatever_their_digest(tmp_path: Path) -> None:
    incomplete = [f"tiny-{digest}.partial-x" for digest in ("0123456789ab", "ba9876543210")]
    others = ["tiny-too-0123456789ab.partial-x", "tiny-0123456789ab"]
    for name in (*incomplete, *others):
        (tmp_path / name / "sub").mkdir(parents=True)
    managed_folder.create(
        tmp_path / "tiny-aaaaaaaaaaaa", tmp_path / "lock", fill, managed_folder.check, lambda doing: None
    )
    assert {path.name for path in tmp_path.glob("tiny*")} == {*others, "tiny-aaaaaaaaaaaa"}


def test_a_file_at_the_path_of_the_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "it").write_text("in the way")
    assert managed_folder.check(tmp_path / "it").state == "broken"
    assert create(tmp_path).state == "ready"
    assert list(tmp_path.glob("it.*")) == []


@given(st.dictionaries(NAMES, st.binary(max_size=20), min_size=1, max_size=5), st.data())
def test_a_file_of_another_size_is_detected(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], data: st.DataObject
) -> None:
    def fill(folder: Path) -> Mapping[str, str]:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return {}

    parent = tmp_path_factory.mktemp("managed")
    found = managed_folder.create(
        parent / "it", parent / "lock", fill, managed_folder.check, lambda doing: None
    )
    assert found.bytes == sum(map(len, files.values()))
    (parent / "it" / "added later").write_text("ignored")
    assert managed_folder.check(parent / "it").state == "ready"
    changed = data.draw(st.sampled_from(sorted(files)))
    (parent / "it" / changed).write_bytes(files[changed] + b"!")
    assert managed_folder.check(parent / "it").state == "broken"


def test_ctrl_c_ends_waiting_for_another_process(tmp_path: Path) -> None:
    waiting = threading.Event()
    arguments = (tmp_path / "it", tmp_path / "lock", fill, managed_folder.check, lambda doing: waiting.set())
    with file_lock(tmp_path / "lock"), pytest.raises(KeyboardInterrupt), CHILDREN.pool(1) as pool:
        future = pool.submit(managed_folder.create, *arguments)
        assert waiting.wait(30)
        raise KeyboardInterrupt
    assert isinstance(future.exception(), JobError)
    assert not (tmp_path / "it").exists()
