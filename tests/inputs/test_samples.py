"""Samples: supported forms, and checks before anything slow starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import InputError
from edgehone.inputs import sample_arrays, sample_files, samples
from edgehone.inputs.axes import Axes, find
from edgehone.model.info import Tensor

INPUTS = (Tensor("x", "float32", ("batch", 3, 4)),)


def arrays(**more: Any) -> dict[str, Any]:
    return {"x": np.ones((10, 3, 4), np.float32), **more}


def refused(what: str, to: str = "float32", **more: Any) -> None:
    with pytest.raises(InputError, match=what):
        sample_arrays.check_arrays(
            arrays(**more), [replace(tensor, dtype=to) for tensor in INPUTS], "s.npz", Axes()
        )


def test_valid_arrays_are_accepted() -> None:
    sample_arrays.check_arrays(arrays(labels=np.zeros(10, np.int64)), INPUTS, "s.npz", Axes())
    sample_arrays.check_arrays(
        arrays(x=np.ones((10, 3, 4), np.float64)), INPUTS, "s.npz", Axes()
    )  # float64 narrows
    sample_arrays.check_arrays(
        {"x": np.ones((20, 3, 4), np.float32), "labels": np.zeros(10)}, INPUTS, "pairs.npz", Axes()
    )


def test_invalid_arrays_are_refused_with_the_offending_value() -> None:
    refused(r"shape \[10, 4, 3\], but the model takes \[batch, 3, 4\]", x=np.ones((10, 4, 3), np.float32))
    refused("x is float32, but the model takes int64", x=np.ones((10, 3, 4), np.float32), to="int64")
    refused("different numbers of samples", labels=np.zeros(7))
    refused("at least 8 are needed", x=np.ones((3, 3, 4), np.float32))
    refused("arrays x, y, but the model's inputs are x", y=np.ones(10))
    broken = np.ones((10, 3, 4), np.float32)
    broken[6, 0, 0] = np.nan
    refused("NaN or infinity, first in sample 6", x=broken)
    refused("labels holds NaN", labels=np.full(10, np.nan))
    refused("labels are complex128, neither numbers nor texts", labels=np.full(10, 1j))
    refused("a single number", labels=np.float32(1))
    refused(r"shape \[\], but the model takes \[batch, 3, 4\]", x=np.float32(1))


def test_samples_along_another_axis_and_arrays_that_all_samples_share() -> None:
    inputs = [Tensor("x", "float32", ("time", "batch", 3)), Tensor("rate", "int64", ())]
    axes = find(inputs, [])
    x, rate = np.ones((4, 10, 3), np.float32), np.array(16000, np.int64)
    given: dict[str, Any] = {"x": x, "rate": rate, "labels": np.zeros(10)}
    sample_arrays.check_arrays(given, inputs, "s.npz", axes)
    for name, array, what in (
        ("labels", np.zeros(4), "different numbers of samples .x: 10, labels: 4"),
        ("rate", np.full(10, 16000), r"rate has the shape \[10\], but the model takes \[\]"),
        ("x", np.where(np.arange(10)[:, None] == 6, np.inf, given["x"]), "infinity, first in sample 6"),
    ):
        with pytest.raises(InputError, match=what):
            sample_arrays.check_arrays({**given, name: array}, inputs, "s.npz", axes)


@pytest.mark.parametrize(
    ("array", "dtype", "what"),
    [
        (
            np.full((10, 3, 4), 1e300),
            "float32",
            r"x holds 1e\+300 in sample 0, but the model takes float32: -3\.4",
        ),
        (np.full((10, 3, 4), 7e4, np.float32), "float16", "the model takes float16: -65504"),
        (np.full((10, 3, 4), 200), "int8", "x holds 200 in sample 0, but the model takes int8: -128 to 127"),
        (np.full((10, 3, 4), -(2**40)), "int32", "x holds -1099511627776"),
    ],
)
def test_numbers_that_the_models_type_cannot_hold_are_refused(array: Any, dtype: str, what: str) -> None:
    refused(what, to=dtype, x=array)
    sample_arrays.check_arrays(
        {"x": array.clip(-100, 100)}, [replace(INPUTS[0], dtype=dtype)], "s.npz", Axes()
    )


def test_npz_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", **arrays())
    assert samples.read_arrays(tmp_path / "good.npz")["x"].shape == (10, 3, 4)
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not a zip")
    np.savez(tmp_path / "pickled.npz", x=np.array([{"a": 1}], dtype=object))
    for name in ("bad.npz", "pickled.npz"):
        with pytest.raises(InputError, match="cannot be read as npz"):
            samples.read_arrays(tmp_path / name)


@given(st.data())
def test_a_damaged_npz_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("npz") / "s.npz"
    np.savez(path, **arrays())
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        samples.read_arrays(path)
    except InputError:
        return


def test_kinds_of_paths(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(InputError, match="not a supported kind of samples"):
        samples.kind_of(tmp_path / "a.csv")
    with pytest.raises(InputError, match="no such samples"):
        samples.kind_of(tmp_path / "none.npz")
    assert samples.kind_of(tmp_path) == "images"


def test_classes_of_images_are_their_folders(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.PNG", "dog/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [label for _, label in sample_files.images(tmp_path)] == [0, 0, 1]
    (tmp_path / "loose.png").touch()
    with pytest.raises(InputError, match="both images and folders"):
        sample_files.images(tmp_path)


@pytest.mark.parametrize(("name", "find"), [("1.png", sample_files.images), ("1.wav", sample_files.sounds)])
def test_an_empty_folder_between_classes_is_refused(tmp_path: Path, name: str, find: Any) -> None:
    for folder in ("a", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    for harmless in (".git", "notes"):
        (tmp_path / harmless).mkdir()
    (tmp_path / "notes" / "README").touch()
    assert [label for _, label in find(tmp_path)] == [0, 1]
    (tmp_path / "b" / "deeper").mkdir(parents=True)
    with pytest.raises(InputError, match=r"b is empty, so that it is not clear whether it counts") as caught:
        find(tmp_path)
    assert caught.value.hint


def test_files_that_are_not_read_are_told(tmp_path: Path) -> None:
    for name in ("a.png", "a.txt", "annotations.json"):
        (tmp_path / name).touch()
    assert sample_files.passed_over(tmp_path) is None
    for name in ("b.gif", "c.TIF"):
        (tmp_path / name).touch()
    assert str(sample_files.passed_over(tmp_path)).startswith(f"2 files in {tmp_path} (.gif, .tif) are not")


def test_texts_and_pairs(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "one", "label": 1}\n\n{"text": ["a", "b"], "label": 0.5}\n')
    assert sample_files.read_texts(path) == (["one", ["a", "b"]], [1, 0.5])
    (tmp_path / "t.txt").write_text("one\ntwo\n")
    assert sample_files.read_texts(tmp_path / "t.txt") == (["one", "two"], None)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "line 1 is not JSON"),
        ('{"txt": "a"}', 'no "text"'),
        ('{"text": ["a", "b", "c"]}', 'no "text"'),
        ('{"text": "a", "label": "x"}', "the label is 'x'"),
        ('{"text": "a", "label": 1}\n{"text": "b"}', "label all or none"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(InputError, match=what):
        sample_files.read_texts(tmp_path / "t.jsonl")


def test_calibration_in_another_unit_or_of_the_evaluation_is_refused() -> None:
    rng = np.random.default_rng(0)
    one, other = ({"x": rng.random((16, 4), np.float32)} for _ in range(2))
    sample_arrays.check_ranges(one, other)
    sample_arrays.check_disjoint(one, other)
    with pytest.raises(InputError, match="span"):
        sample_arrays.check_ranges(one, {"x": 255 * other["x"]})
    other["x"][3] = one["x"][7]
    with pytest.raises(InputError, match="1 of 16 calibration samples are also evaluation samples"):
        sample_arrays.check_disjoint(one, other)


def test_an_array_without_entries_has_no_range() -> None:
    empty = {"x": np.ones((10, 3, 4), np.float32), "past": np.zeros((10, 2, 0, 8), np.float32)}
    sample_arrays.check_ranges(empty, empty)
    sample_arrays.check_ranges(empty, {**empty, "past": np.ones((10, 2, 1, 8), np.float32)})
