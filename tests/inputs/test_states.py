"""Which outputs of a graph are the states that its next step takes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgehone.core.errors import InputError
from edgehone.formats.graph import Tensor
from edgehone.inputs.axes import Axes
from edgehone.inputs.axes import find as find_axes
from edgehone.inputs.states import State, find, recognize

X, Y = Tensor("x", "float32", ("batch", 6)), Tensor("y", "float32", ("batch", 2))
H, HN = Tensor("h", "float32", (2, "batch", 8)), Tensor("hn", "float32", (2, "batch", 8))


@pytest.mark.parametrize(
    ("output", "taken"),
    [
        ("hn", "h"),
        ("h_n", "h_0"),
        ("stateN", "state"),
        ("state_out", "state_in"),
        ("next_cell", "cell"),
        ("new_memory", "prev_memory"),
        ("present.0.key", "past_key_values.0.key"),
        ("hiddenOut", "hiddenIn"),
    ],
)
def test_pairs_are_recognized_by_name_type_and_shape(output: str, taken: str) -> None:
    state, after = Tensor(taken, "float32", (2, "N", 8)), Tensor(output, "float32", (2, None, 8))
    assert recognize([X, state], [Y, after]) == [f"{output}={taken}"]
    assert recognize([X, state], [Y, Tensor(output, "float16", (2, None, 8))]) == []
    assert recognize([X, state], [Y, Tensor(output, "float32", (3, None, 8))]) == []


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([X, H], [Y, HN, Tensor("h_out", "float32", (2, "batch", 8))]),  # two outputs fit
        ([H], [HN]),  # no input would be left
        (
            [X, Tensor("input", "float32", (4,))],
            [Tensor("output", "float32", (4,))],
        ),  # only words of direction
        ([X, Tensor("rate", "float32", ())], [Tensor("rate_out", "float32", ())]),  # a single number
        ([X, Tensor("z", "float32", ("batch", 6))], [Tensor("z", "float32", ("batch", 6))]),  # no direction
    ],
)
def test_what_is_not_clear_is_no_state(inputs: list[Tensor], outputs: list[Tensor]) -> None:
    assert recognize(inputs, outputs) == []


def test_a_stated_pair_becomes_a_state_with_the_inputs_shape() -> None:
    (state,) = find([X, H], [Y, HN], ["hn=h"])
    assert state == State("hn", "h", (2, None, 8), "float32")
    assert State.from_json(state.to_json()) == state
    start = state.start(1, 3)
    assert start.shape == (2, 3, 8) and start.dtype == np.float32 and not start.any()
    axes = find_axes([X, H], [Y, HN], told_states=["hn=h"])
    assert Axes.from_json(axes.to_json()).states == (state,)
    assert axes.outputs["hn"] == 1
    assert axes.of_samples([X, H]) == [Tensor("x", "float32", ("batch", "steps", 6))]
    assert axes.of_one_step().of_samples([X, H]) == [X, H]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (["hn"], "--state hn is not OUTPUT=INPUT"),
        (["hm=h"], "--state hm=h: the graph has no output 'hm'; known: y, hn"),
        (["hn=k"], "--state hn=k: the graph has no input 'k'"),
        (["y=h"], "the output has the shape [batch, 2], and the input takes [2, batch, 8]"),
        (["count=h"], "the output is int64, and the input takes float32"),
        (["hn=h", "hn=h2"], "--state names the output 'hn' twice"),
        (["hn=h", "h2n=h"], "--state names the input 'h' twice"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused_by_name(told: list[str], message: str) -> None:
    outputs = [Y, HN, Tensor("h2n", *H_LIKE), Tensor("count", "int64", (2, "batch", 8))]
    with pytest.raises(InputError, match=re.escape(message)):
        find([X, H, Tensor("h2", *H_LIKE)], outputs, told)


H_LIKE = ("float32", (2, "batch", 8))


def test_every_input_a_state_or_a_free_size_is_refused() -> None:
    with pytest.raises(InputError, match="every input is a state"):
        find([H], [HN], ["hn=h"])
    grows = State("c2", "c", (None, None, 8), "float32")
    with pytest.raises(InputError, match=re.escape("the state 'c' has the shape [?, 4, 8]")):
        grows.start(1, 4)
