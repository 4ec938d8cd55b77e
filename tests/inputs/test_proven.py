"""The sizes and values that a graph was evaluated with, and what is beyond them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgehone.inputs import proven
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches
from edgehone.model.info import Tensor

IDS = Tensor("ids", "int64", ("batch", "tokens"))
SCALES = Tensor("scales", "float32", (3,))
SPEAKER = Tensor("speaker", "int64", ("batch",))
SOUND = Tensor("sound", "float32", ("batch", "time"))
AXES = Axes({"ids": 0, "scales": None, "speaker": 0}, {"sound": 0})


def known(**arrays: Any) -> dict[str, Any]:
    rows = {"ids": np.ones((5, 20), np.int64), "speaker": np.array([0, 1, 2, 3, 2]), **arrays}
    shared = {"scales": np.array([0, 1, -0.8], np.float32)}
    return proven.ranges(Batches(rows, None, shared, AXES), [IDS, SCALES, SPEAKER])


def test_ranges_of_samples() -> None:
    assert known() == {
        "sizes": {"ids": [None, 20], "speaker": [None], "scales": [3]},
        "values": {
            "scales": {"least": [0, 1, pytest.approx(0.8)], "most": [0, 1, pytest.approx(0.8)]},
            "speaker": {"least": [0], "most": [3]},
        },
    }
    assert (
        "scales"
        not in proven.ranges(
            Batches({"ids": np.ones((5, 20))}, None, {"scales": np.array([1, np.inf, 2])}, AXES),
            [IDS, SCALES],
        )["values"]
    )


def test_an_axis_of_samples_that_is_not_the_first_keeps_its_place() -> None:
    axes = Axes({"x": 1})
    found = proven.ranges(
        Batches({"x": np.ones((5, 20, 3))}, None, {}, axes), [Tensor("x", "float32", ("t", "n", 3))]
    )
    assert found["sizes"] == {"x": [20, None, 3]}


@pytest.mark.parametrize(
    ("output", "depends"),
    [
        (Tensor("y", "float32", ("batch", 4)), False),
        (Tensor("y", "float32", ("batch", "tokens")), False),
        (SOUND, True),
        (Tensor("y", "float32", ("batch", None)), True),
    ],
)
def test_whether_the_size_of_an_output_depends_on_the_data(output: Tensor, depends: bool) -> None:
    assert proven.size_depends([IDS, SCALES], [output], {output.name: 0}) is depends


def test_sizes_beyond() -> None:
    assert proven.beyond_sizes(known(), "ids", (9, 80), {1}, 4.0) is None
    assert "has 81 entries along axis 1: at most 80" in str(
        proven.beyond_sizes(known(), "ids", (9, 81), {1}, 4.0)
    )
    assert proven.beyond_sizes(known(), "ids", (9, 81), (), 4.0) is None
    assert proven.beyond_sizes({}, "ids", (9, 81), {1}, 4.0) is None


@pytest.mark.parametrize(
    ("name", "value", "axis", "beyond"),
    [
        ("scales", [0, 1, 0.8], None, False),
        ("scales", [99, 4, -3.2], None, False),
        ("scales", [0, 4.1, 0.8], None, True),
        ("scales", [0, 0.2, 0.8], None, True),
        ("scales", [0, np.nan, 0.8], None, True),
        ("scales", [0, np.inf, 0.8], None, True),
        ("speaker", [0, 12, 1], 0, False),
        ("speaker", [0, 13, 1], 0, True),
        ("ids", [[10**9] * 20], 0, False),
    ],
)
def test_values_beyond(name: str, value: Any, axis: int | None, beyond: bool) -> None:
    array = np.array(value, np.float32 if name == "scales" else np.int64)
    assert (proven.beyond_values(known(), name, array, axis, 4.0) is not None) is beyond
