"""Sequences of unequal length: each is cut to its own end, and nothing after it is judged, timed or calibrated with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import InputError
from edgehone.formats.graph import Tensor
from edgehone.inputs import sample_arrays
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches, stretched
from edgehone.inputs.states import State
from edgehone.worker import score_graph, sequences

INPUTS = [Tensor("x", "float32", ("batch", 2)), Tensor("h", "float32", ("batch", 3))]
AXES = Axes({"x": 0, "h": 0}, {"y": 0, "hn": 0}, states=(State("hn", "h", (None, 3), "float32"),))


class Sums:
    """y = h + the sum of x, and the next state h is y in each of its entries."""

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        y = feeds["h"][:, :1] + feeds["x"].sum(1, keepdims=True)
        return {"y": y, "hn": np.repeat(y, 3, 1)}

    def close(self) -> None: ...


def sequences_of(lengths: list[int], padding: float = 0.0) -> Batches:
    """Sequences of the numbers 1, 2, … with `padding` after their ends."""
    steps = max(lengths) + 2
    x = np.full((len(lengths), steps, 2), padding, np.float32)
    for row, length in enumerate(lengths):
        x[row, :length] = np.arange(1, length + 1)[:, None]
    arrays = {"x": x, "lengths": np.array(lengths)}
    sample_arrays.check_arrays(arrays, INPUTS, "s.npz", AXES, least=1)
    return Batches.arranged(sample_arrays.typed(arrays, INPUTS), AXES)


def job(folder: Path, batch: int, **args: Any) -> WorkerJob:
    out = folder / f"out{batch}"
    out.mkdir()
    told = {"settings": {}, "batch": batch, **args}
    return WorkerJob(told, {"artifact": folder, "samples": folder}, out, None, 1, lambda *progress: None)


@given(length=some.integers(1, 50), longer=some.integers(0, 50))
def test_each_step_stands_for_as_many_places(length: int, longer: int) -> None:
    found = np.bincount(stretched(length, length + longer), minlength=length)
    assert found.min() >= 1 and found.max() - found.min() <= 1 and found.sum() == length + longer
    assert (np.diff(stretched(length, length + longer)) >= 0).all()


def test_a_batch_is_cut_to_its_longest_sequence(tmp_path: Path) -> None:
    sequences_of([3, 5, 2]).write(tmp_path)
    found = Batches.read(tmp_path)
    assert found.lengths is not None and found.lengths.tolist() == [3, 5, 2]
    assert [found.around(at, 1)["x"].shape[1] for at in range(4)] == [3, 5, 2, 3]
    assert found.around(1, 2)["x"].shape == (2, 5, 2)
    assert found.around(0, 1).keys() == {"x"}
    assert Batches.read(tmp_path, 1).steps == 3


@pytest.mark.parametrize("batch", [1, 2])
def test_what_stands_after_an_end_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    opened = SimpleNamespace(open_graph=lambda artifact, settings, job: Sums())
    monkeypatch.setattr(score_graph, "load_backend", lambda job: opened)
    monkeypatch.setattr(score_graph, "require", lambda backend, protocol: backend)
    sequences_of([2, 4, 1], padding=1e6).write(tmp_path)
    facts = score_graph.outputs(job(tmp_path, batch))
    assert facts["outputs"] == ["y"] and facts["samples"] == 3 and facts["differs"] is None
    found = np.load(tmp_path / f"out{batch}" / "0.npy")[..., 0]
    assert found.tolist() == [[2, 2, 6, 6], [2, 6, 12, 20], [2, 2, 2, 2]]


def test_outputs_that_are_written_have_zeros_after_an_end() -> None:
    one = sequences_of([2, 3])
    feeds = one.around(0, 2)
    found = one.padded(one.rows(sequences.runner(Sums(), AXES)(feeds), 2), 0)
    assert found["y"][..., 0].tolist() == [[2, 6, 0], [2, 6, 12]]


def test_sequences_of_the_median_length_are_timed() -> None:
    found = sequences_of([9, 3, 4, 4, 1]).for_timing()
    assert found.count == 2 and found.around(0, 1)["x"].shape[1] == 4
    equal = Batches({"x": np.zeros((4, 2, 2))}, None, {}, AXES)
    assert equal.for_timing() is equal


def test_steps_for_calibration_are_those_before_the_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = SimpleNamespace(open_graph=lambda artifact, settings, job: Sums())
    monkeypatch.setattr(sequences, "load_backend", lambda job: opened)
    monkeypatch.setattr(sequences, "require", lambda backend, protocol: backend)
    sequences_of([2, 4, 1], padding=1e6).write(tmp_path)
    assert sequences.collect(job(tmp_path, 2, most=100)) == {"steps": 7}
    found = Batches.read(tmp_path / "out2" / "calibration")
    assert sorted(found.arrays["x"][:, 0].tolist()) == [1, 1, 1, 2, 2, 3, 4]


@pytest.mark.parametrize(
    ("lengths", "told"),
    [
        ([2, 3], r"lengths is int64 of shape \[2\], and there are 3 sequences"),
        ([2.0, 3.0, 1.0], r"lengths is float64 of shape \[3\]"),
        ([2, 0, 1], r"lengths\[1\] is 0, the arrays have 4 steps"),
        ([2, 3, 9], r"lengths\[2\] is 9, the arrays have 4 steps"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths: list[float], told: str) -> None:
    arrays = {"x": np.zeros((3, 4, 2), np.float32), "lengths": np.array(lengths)}
    with pytest.raises(InputError, match=told):
        sample_arrays.check_arrays(arrays, INPUTS, "s.npz", AXES, least=1)


def test_an_input_that_is_called_so_is_an_input() -> None:
    named = Axes({**AXES.inputs, "lengths": 0}, AXES.outputs, states=AXES.states)
    arrays: dict[str, Any] = {"x": np.zeros((3, 4, 2), np.float32), "lengths": np.zeros((3, 4), np.int64)}
    inputs = [*INPUTS, Tensor("lengths", "int64", ("batch",))]
    sample_arrays.check_arrays(arrays, inputs, "s.npz", named, least=1)
    assert Batches.arranged(arrays, named).lengths is None
