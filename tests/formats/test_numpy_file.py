"""The strict reading of numpy's files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgehone.formats.numpy_file import check_npy, check_npz


def test_sound_files_have_no_problem(tmp_path: Path) -> None:
    for number, array in enumerate(
        (np.zeros((3, 4), np.float32), np.array(5), np.zeros((0, 2)), np.array(["é"]))
    ):
        np.save(tmp_path / f"{number}.npy", array)
        assert check_npy(tmp_path / f"{number}.npy") == []
    np.savez_compressed(tmp_path / "all.npz", a=np.ones(3), b=np.arange(5))
    assert check_npz(tmp_path / "all.npz") == []


def test_objects_are_found_without_being_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    assert check_npy(tmp_path / "a.npy") == ["its entries are pickled objects"]
    assert check_npz(tmp_path / "a.npz") == ["a.npy: its entries are pickled objects"]


@pytest.mark.parametrize("change", [lambda raw: raw[:-1], lambda raw: raw + b"x"])
def test_a_wrong_size_is_found(tmp_path: Path, change: object) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(3))
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    assert "needs" in check_npy(path)[0]


@pytest.mark.parametrize(
    "raw", [b"", b"\x93NUMPY", b"\x93NUMPY\x09\x00", b"\x93NUMPY\x01\x00\xff\xffabc", b"text"]
)
def test_what_is_no_array_is_found(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(raw)
    assert len(check_npy(path)) == 1


def test_other_members_and_archives_are_found(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.pkl", b"\x80\x04.")
    assert check_npz(tmp_path / "a.npz") == ["the member 'data.pkl' is no array"]
    (tmp_path / "b.npz").write_bytes(b"no archive")
    with pytest.raises(zipfile.BadZipFile):
        check_npz(tmp_path / "b.npz")
