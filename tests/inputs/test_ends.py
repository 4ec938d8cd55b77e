"""An input that says how many steps of a sample are no padding: batches are cut to it, as whoever serves sends them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgehone.formats.graph import Tensor
from edgehone.inputs import axes
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches

OUTPUT = [Tensor("marks", "float32", ("batch", "steps", 3))]


def tensors(**shapes: tuple[int | str, ...]) -> list[Tensor]:
    return [Tensor(name, "int64", shape) for name, shape in shapes.items()]


def batches(found: Axes, padding: int = 0, labels: np.ndarray | None = None) -> Batches:
    text = np.full((3, 6), padding)
    for row, length in enumerate((2, 5, 3)):
        text[row, :length] = row + 1
    return Batches({"text": text, "text_lengths": np.array([2, 5, 3])}, labels, {}, found)


def test_the_input_with_the_lengths_is_found_and_told() -> None:
    inputs = tensors(text=("batch", "steps"), hints=("batch", "steps"), text_lengths=("batch",))
    found = axes.find(inputs, OUTPUT)
    assert (found.ends, found.padded) == ("text_lengths", ("text", "hints"))
    assert any("that the input 'text_lengths' gives are cut off" in note for note in found.notes)
    assert Axes.from_json(json.loads(json.dumps(found.to_json()))).padded == found.padded


@pytest.mark.parametrize(
    "inputs",
    [
        tensors(text=("batch", 64), text_lengths=("batch",)),
        tensors(text=("batch", "steps"), length_scale=("batch",)),
        tensors(text=("batch", "steps"), text_lengths=("batch",), lens=("batch",)),
        tensors(text=("batch", "steps"), sound=("batch", "samples"), lengths=("batch",)),
        tensors(text=("batch", "steps"), lengths=(3,)),
        tensors(x=("batch",), lengths=("batch",)),
        tensors(text=("batch", "steps"), target_length=("batch",)),
        tensors(sound=("batch", "samples"), wavelength=("batch",)),
        [Tensor("text", "int64", ("batch", None)), Tensor("text_lengths", "int64", ("batch",))],
        [Tensor("wav", "float32", ("batch", "steps")), Tensor("wav_lens", "float32", ("batch",))],
    ],
    ids=[
        *("fixed", "a scale", "two", "of which", "shared", "nothing to cut", "of another", "no length"),
        *("unnamed", "shares"),
    ],
)
def test_where_it_is_not_clear_nothing_is_cut(inputs: list[Tensor]) -> None:
    assert axes.find(inputs, OUTPUT).ends is None


def test_each_batch_is_cut_to_its_longest_sample(tmp_path: Path) -> None:
    found = axes.find(tensors(text=("batch", "steps"), text_lengths=("batch",)), OUTPUT)
    batches(found).write(tmp_path)
    read = Batches.read(tmp_path)
    assert [read.around(at, 1)["text"].shape[1] for at in range(3)] == [2, 5, 3]
    assert read.around(0, 2)["text"].tolist() == [[1, 1, 0, 0, 0], [2, 2, 2, 2, 2]]
    assert read.around(2, 2)["text_lengths"].tolist() == [3, 2]


def test_what_is_no_padding_is_not_cut() -> None:
    found = axes.find(tensors(text=("batch", "steps"), text_lengths=("batch",)), OUTPUT)
    assert batches(found, padding=9).around(0, 1)["text"].shape == (1, 6)
    by_step = np.zeros((3, 6))
    assert batches(found, labels=by_step).around(0, 1)["text"].shape == (1, 6)
    assert batches(found, labels=by_step[:, 0]).around(0, 1)["text"].shape == (1, 2)
