"""A graph with states on whole sequences, by a session that computes in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgehone.core.errors import InputError
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches
from edgehone.inputs.sample_arrays import check_arrays
from edgehone.inputs.states import State
from edgehone.model.info import Tensor
from edgehone.worker.sequences import first_step, runner, steps

INPUTS = [
    Tensor("x", "float32", ("batch", 2)),
    Tensor("h", "float32", (1, "batch", 2)),
    Tensor("gain", "float32", ()),
]
AXES = Axes(
    {"x": 0, "h": 1, "gain": None}, {"y": 0, "hn": 1}, states=(State("hn", "h", (1, None, 2), "float32"),)
)
X = np.random.default_rng(0).normal(size=(5, 4, 2)).astype(np.float32)
GAIN = np.array(2.0, np.float32)


class Sums:
    """hn = h + gain · x, y = the sum of hn over its last axis, and the mean of y over the batch."""

    def run(self, feeds: Any) -> dict[str, Any]:
        assert feeds["x"].ndim == 2 and feeds["h"].shape == (1, len(feeds["x"]), 2)
        state = feeds["h"] + feeds["gain"] * feeds["x"][None]
        y = state[0].sum(1, keepdims=True)
        return {"y": y, "hn": state, "mean": y.mean()}

    def close(self) -> None: ...


def test_every_step_takes_the_state_of_the_last_one() -> None:
    outputs = runner(Sums(), AXES)({"x": X, "gain": GAIN})
    np.testing.assert_allclose(outputs["y"], 2 * X.cumsum(1).sum(2, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(outputs["mean"], outputs["y"].mean(0)[:, 0], rtol=1e-5)
    assert (
        outputs.keys() == {"y", "mean"} and outputs["y"].shape == (5, 4, 1) and outputs["mean"].shape == (4,)
    )


def test_a_sequence_goes_on_from_the_states_that_are_given() -> None:
    run = runner(Sums(), AXES, keep_states=True)
    first = run({"x": X[:, :1], "gain": GAIN, "h": np.zeros((1, 5, 2), np.float32)})
    second = run({"x": X[:, 1:], "gain": GAIN, "h": first["hn"]})
    whole = run({"x": X, "gain": GAIN})
    assert "hn" not in whole
    np.testing.assert_allclose(np.concatenate([first["y"], second["y"]], 1), whole["y"], rtol=1e-5)


def test_the_layout_of_samples_is_kept_for_batches_of_sequences() -> None:
    batches = Batches.arranged({"x": X, "gain": GAIN}, AXES)
    feeds = batches.around(4, 2)  # goes on at the first sequence
    rows = batches.rows(runner(Sums(), AXES)(feeds), 2)
    expected = 2 * X[[4, 0]].cumsum(1).sum(2, keepdims=True)
    np.testing.assert_allclose(rows["y"], expected, rtol=1e-5)
    assert rows["mean"].shape == (2, 4)
    assert {name: one.shape for name, one in first_step(AXES, feeds).items()} == {
        "x": (2, 2),
        "gain": (),
        "h": (1, 2, 2),
    }
    taken = [step["h"] for step, _ in steps(Sums(), AXES, feeds)]
    assert len(taken) == 4 and not taken[0].any() and taken[3].any()


def test_a_graph_without_states_is_run_directly() -> None:
    session = Sums()
    assert runner(session, Axes()) == session.run
    feeds = {"x": X[0]}
    assert first_step(Axes(), feeds) is feeds


def test_samples_are_sequences_and_may_give_the_first_state() -> None:
    arrays = {"x": np.repeat(X, 2, 0), "gain": GAIN}
    check_arrays(arrays, INPUTS, "s.npz", AXES)
    check_arrays({**arrays, "h": np.zeros((1, 1, 2), np.float32)}, INPUTS, "s.npz", AXES)
    with pytest.raises(
        InputError, match=r"x has the shape \[10, 2\], but the model takes \[batch, steps, 2\]"
    ):
        check_arrays({"x": arrays["x"][:, 0], "gain": GAIN}, INPUTS, "s.npz", AXES)
    with pytest.raises(InputError, match=r"the same number of steps in every input, at least one \(x: 0\)"):
        check_arrays({"x": arrays["x"][:, :0], "gain": GAIN}, INPUTS, "s.npz", AXES)
    with pytest.raises(InputError, match="the arrays gain, but the model's inputs are gain, x"):
        check_arrays({"gain": GAIN}, INPUTS, "s.npz", AXES)


def test_inputs_of_other_lengths_are_refused() -> None:
    axes = Axes({"x": 0, "z": 0, "h": 1}, states=AXES.states)
    with pytest.raises(InputError, match=r"the same number of steps, at least one \(x: 4, z: 3\)"):
        runner(Sums(), axes)({"x": X, "z": X[:, :3]})
