"""The first rows of an npz file: equal to those of the whole, whatever the dtype, and scalars kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches
from edgehone.inputs.first_rows import first_rows


@pytest.mark.parametrize("dtype", ["float32", "int64", "float16", "bool", "<U7"])
def test_the_first_rows_are_those_of_the_whole(tmp_path: Path, dtype: str) -> None:
    array = np.arange(60).reshape(10, 3, 2).astype(dtype)
    np.savez(tmp_path / "a.npz", x=array, rate=np.array(16000))
    found = first_rows(tmp_path / "a.npz", 4, frozenset({"rate"}))
    assert np.array_equal(found["x"], array[:4]) and found["rate"] == 16000
    assert len(first_rows(tmp_path / "a.npz", 99, frozenset({"rate"}))["x"]) == 10


def test_an_array_in_columns_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(np.ones((4, 5))))
    with pytest.raises(ValueError, match="not stored row by row"):
        first_rows(tmp_path / "a.npz", 2)


def test_samples_are_written_so_that_their_first_rows_can_be_read(tmp_path: Path) -> None:
    axes = Axes({"x": 1, "rate": None})
    rows = {"x": np.asfortranarray(np.arange(20.0).reshape(5, 4))}
    Batches(rows, np.arange(5), {"rate": np.array(7)}, axes).write(tmp_path)
    few, every = Batches.read(tmp_path, 2), Batches.read(tmp_path)
    assert few.count == 2 and every.count == 5
    assert np.array_equal(few.around(0, 2)["x"], every.around(0, 2)["x"])
    assert few.shared["rate"] == 7 and few.labels is not None and len(few.labels) == 2
