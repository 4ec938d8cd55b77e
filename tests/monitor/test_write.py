"""The folder that is written: nothing of others is overwritten, and a failure leaves what was there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgehone.core.errors import InputError, SetupError
from edgehone.monitor.write import DIGESTS, write
from tests.disks import small_file_system

FILES = {"README.md": "one\n", "prometheus/rules.yml": "groups: []\n"}
NEW = {"README.md": "two\n", "grafana/dashboard.json": "{}\n"}


def content(folder: Path) -> dict[str, str]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text("utf-8") for name, path in found.items() if name != DIGESTS}


def test_a_folder_is_made_and_replaced_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    write(out, FILES)
    assert content(out) == FILES
    write(out, NEW)
    assert content(out) == NEW
    assert [one.name for one in out.parent.iterdir()] == ["out"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out, FILES)
    assert content(out) == FILES


@pytest.mark.parametrize("name", ["notes.txt", "prometheus/mine.yml", ".hidden"])
def test_a_folder_with_files_of_others_is_refused(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    write(out, FILES)
    (out / name).write_text("mine")
    with pytest.raises(InputError) as caught:
        write(out, NEW)
    assert name in caught.value.message and "--out" in str(caught.value.hint)
    assert content(out) == {**FILES, name: "mine"}


def test_a_folder_that_was_never_generated_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(InputError, match=r"was not generated: README\.md"):
        write(tmp_path, FILES)


def test_a_file_that_was_changed_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, FILES)
    (out / "prometheus" / "rules.yml").write_text("groups: [mine]\n")
    with pytest.raises(InputError, match="was changed since it was generated"):
        write(out, NEW)
    assert content(out)["prometheus/rules.yml"] == "groups: [mine]\n"


@pytest.mark.parametrize("damaged", ["", "[]", "{", '{"README.md": 3}'])
def test_damaged_digests_are_no_permission(tmp_path: Path, damaged: str) -> None:
    out = tmp_path / "out"
    write(out, FILES)
    (out / DIGESTS).write_text(damaged)
    with pytest.raises(InputError):
        write(out, NEW)


def test_a_file_and_a_link_in_the_place_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(InputError, match="is no folder"):
            write(tmp_path / name, FILES)


def test_a_link_that_replaced_a_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, FILES)
    (tmp_path / "elsewhere").write_text(FILES["README.md"])
    (out / "README.md").unlink()
    (out / "README.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="was changed"):
        write(out, NEW)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    with small_file_system(tmp_path / "disk", "64k") as place:
        yield place


def test_a_full_disk_is_told_and_leaves_what_was_there(tiny_disk: Path) -> None:
    out = tiny_disk / "out"
    write(out, FILES)
    with pytest.raises(SetupError) as caught:
        write(out, {"large": "x" * 100_000})
    assert "No space left" in caught.value.message and caught.value.hint
    assert content(out) == FILES
    assert [one.name for one in tiny_disk.iterdir()] == ["out"]
