"""Where the samples are in the inputs and outputs of a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.core.errors import InputError
from edgehone.inputs import sample_arrays
from edgehone.inputs.axes import Axes, find, fixed_batch
from edgehone.inputs.batches import Batches
from edgehone.model.info import Tensor


def tensors(**shapes: Any) -> list[Tensor]:
    return [Tensor(name, "float32", shape) for name, shape in shapes.items()]


@pytest.mark.parametrize(
    ("inputs", "outputs", "axes"),
    [
        ({"x": ("batch", 4)}, {"y": ("batch", 2)}, {"x": 0, "y": 0}),
        ({"x": ("S", "N", 12)}, {"y": ("N", 5)}, {"x": 1, "y": 0}),
        ({"x": ("time", "batch", 12)}, {"y": ("time", "batch", 5)}, {"x": 1, "y": 1}),
        # No name says so, but the output begins with the second size of the input.
        ({"x": ("s0", "s1", 12)}, {"y": ("s1", 5)}, {"x": 1, "y": 0}),
        ({"x": (20, 1, 12)}, {"y": (1, 5)}, {"x": 1, "y": 0}),
        # A recurrent model's state, and a single number for all samples.
        (
            {"x": ("batch", "time"), "state": (2, "batch", 128), "rate": ()},
            {"p": ("batch", 1), "stateN": (2, "batch", 128), "mean": ()},
            {"x": 0, "state": 1, "rate": None, "p": 0, "stateN": 1, "mean": None},
        ),
        # The same without names: the state's only free size, or the only one that is the fixed batch.
        (
            {"x": (None, None), "state": (2, None, 128), "rate": ()},
            {"p": (None, 1), "stateN": (None, None, None)},
            {"x": 0, "state": 1, "rate": None, "stateN": 1},
        ),
        ({"x": (1, 576), "state": (2, 1, 128)}, {"p": (1, 1)}, {"x": 0, "state": 1, "p": 0}),
        ({"x": ("batch", "T"), "state": (2, None, 64)}, {"y": ("batch", 3)}, {"x": 0, "state": 1, "y": 0}),
        ({"x": ("N", "T"), "scales": (3,)}, {"y": ("N", 1, "T")}, {"x": 0, "scales": None, "y": 0}),
        ({"x": (1, 40), "scales": (3,)}, {"y": (1, 1, 80)}, {"x": 0, "scales": None, "y": 0}),
        ({"x": (None, 4)}, {"y": (None, 2)}, {"x": 0}),
        ({"x": ("s77", 4), "k": ("s77", 9)}, {"y": ("2*s77", 2)}, {"x": 0, "k": 0}),
        # A letter after a first axis of 1 is a number of tokens, and equal numbers are channels by chance.
        ({"ids": (1, "N")}, {"y": (1, "N", 7)}, {"ids": 0, "y": 0}),
        ({"image": (1, 3, 10, 10)}, {"boxes": (10, 4)}, {"image": 0}),
        ({"image": ("unk__0", 3, 8, 8)}, {"y": ("unk__1", 10)}, {"image": 0}),
    ],
)
def test_the_axis_of_the_samples_is_found(
    inputs: dict[str, Any], outputs: dict[str, Any], axes: dict[str, int | None]
) -> None:
    found = find(tensors(**inputs), tensors(**outputs))
    assert {**found.inputs, **found.outputs} == axes
    assert bool(found.notes) == any(found.inputs[name] != 0 for name in inputs)


def test_steps_in_time_are_asked_about_and_axes_can_be_stated() -> None:
    inputs, outputs = tensors(x=("time", 12), rate=()), tensors(y=("time", 5))
    with pytest.raises(InputError, match="first axis is called 'time'") as caught:
        find(inputs, outputs)
    assert caught.value.hint == "name its axes: --axes x=batch,axis1"
    assert find(inputs, outputs, ["x=batch,features"]).inputs == {"x": 0, "rate": None}
    told = find(tensors(x=(8, 8)), tensors(y=(8, 8)), ["x=time,batch", "y=batch,classes"])
    assert (told.inputs, told.outputs) == ({"x": 1}, {"y": 0})
    assert find(tensors(x=(None, 8)), tensors(mean=(3,)), ["mean="]).outputs == {"mean": None}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("z=batch", "the graph has no 'z'"),
        ("x=batch", r"x has the shape \[N, 4\]"),
        ("x=batch,batch", r"x has the shape \[N, 4\]"),
    ],
)
def test_axes_that_do_not_fit_are_refused(text: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        find(tensors(x=("N", 4)), [], [text])


def test_a_fixed_batch_is_that_of_the_axis_of_the_samples() -> None:
    inputs = tensors(x=(20, 4, 12), scales=(3,))
    assert fixed_batch(inputs, Axes({"x": 1, "scales": None})) == 4
    assert fixed_batch(tensors(x=("N", 4)), Axes()) is None


def test_batches_have_the_layout_of_the_graph_and_outputs_are_turned_back(tmp_path: Path) -> None:
    inputs = tensors(x=("time", "batch", 2), rate=())
    axes = find(inputs, tensors(y=("time", "batch"), z=(), w=("batch",)))
    x = np.arange(5 * 7 * 2, dtype=np.float32).reshape(5, 7, 2)
    Batches.arranged({"x": x, "rate": np.array(3, np.float32), "labels": np.arange(7)}, axes).write(tmp_path)
    batches = Batches.read(tmp_path)
    assert batches.count == 7 and batches.labels is not None and list(batches.labels) == [*range(7)]
    feeds = batches.around(6, 2)
    assert feeds["x"].flags.c_contiguous and (feeds["x"] == x[:, [6, 0]]).all()
    assert feeds["rate"].shape == () and feeds["rate"] == 3
    rows = batches.rows({"y": feeds["x"].sum(2), "z": np.array(4), "w": np.arange(2)}, 2)
    assert (rows["y"] == x[:, [6, 0]].sum(2).T).all()
    assert list(rows["z"]) == [4, 4] and list(rows["w"]) == [0, 1]


def test_one_state_serves_all_samples() -> None:
    axes = Axes({"x": 0, "state": 1})
    given = {"x": np.zeros((8, 4), np.float32), "state": np.full((2, 1, 3), 5, np.float32)}
    inputs = tensors(x=("N", 4), state=(2, "N", 3))
    sample_arrays.check_arrays(given, inputs, "s.npz", axes)
    assert Batches.arranged(given, axes).around(6, 4)["state"].shape == (2, 4, 3)
    with pytest.raises(InputError, match=r"different numbers of samples \(x: 8, state: 2"):
        sample_arrays.check_arrays({**given, "state": np.zeros((2, 2, 3), np.float32)}, inputs, "s.npz", axes)


def test_an_output_without_the_samples_on_its_axis_is_named_not_cut() -> None:
    batches = Batches({"x": np.zeros((4, 1))}, None, {}, Axes({"x": 0}, {"y": 0}))
    with pytest.raises(InputError, match=r"'y' has the shape \[20, 3\] for a batch of 2"):
        batches.rows({"y": np.zeros((20, 3))}, 2)
