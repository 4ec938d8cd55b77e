"""Which requests to a graph may run as one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgehone.core.errors import EdgehoneError, InputError
from edgehone.inputs.axes import Axes
from edgehone.model.info import Tensor
from edgehone.worker.joined_requests import Joining, find_joining

ROWS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
X = Tensor("x", "float32", ("batch", 4))


class Graph:
    """A session that computes by a function."""

    def __init__(self, function: Callable[..., dict[str, Any]]) -> None:
        self.function = function

    def run(self, feeds: Any) -> dict[str, Any]:
        return self.function(**feeds)

    def close(self) -> None: ...


def found(
    function: Callable[..., dict[str, Any]], count: int = 3, tensor: Tensor = X
) -> tuple[Joining | None, str]:
    return find_joining(
        Graph(function).run, [{"x": row[None]} for row in ROWS[:count]], [tensor], Axes({"x": 0})
    )


def test_samples_that_are_computed_alone_are_joined() -> None:
    joining, said = found(lambda x: {"double": x * 2, "sum": x.sum(1), "last": x.T})
    assert joining is not None and said == "the outputs of joined canaries are equal"
    assert joining.outputs == {"double": 0, "sum": 0, "last": 1}
    requests = [{"x": ROWS[:2]}, {"x": ROWS[2:]}]
    parts = joining.parted(
        Graph(lambda x: {"double": x * 2, "sum": x.sum(1), "last": x.T}).run(joining.joined(requests)), [2, 1]
    )
    np.testing.assert_array_equal(parts[0]["last"], ROWS[:2].T)
    np.testing.assert_array_equal(parts[1]["double"], ROWS[2:] * 2)
    with pytest.raises(EdgehoneError, match=r"'double' has the shape \[2, 4\] for 3 samples"):
        joining.parted({"double": ROWS[:2], "sum": ROWS[:, 0], "last": ROWS.T}, [2, 1])


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: {"y": x / np.abs(x).max()}, "a sample's outputs depend on the others of its batch: 'y' differs"),
        (lambda x: {"y": x, "mean": x.mean(0)}, "the size of no axis of the output 'mean' is the number of samples"),
        (lambda x: {"y": x, "all": np.float32(x.sum())}, "the size of no axis of the output 'all' is the number of"),
        (lambda x: {"boxes": x[x > 0]}, "the size of no axis of the output 'boxes' is the number of samples"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("count", [1, 3])
def test_other_samples_are_not(function: Callable[..., dict[str, Any]], count: int, said: str) -> None:
    joining, why = found(function, count)
    assert joining is None and why.startswith(said)


def test_a_graph_that_fixes_its_batch_or_cannot_run_a_larger_one() -> None:
    assert found(lambda x: {"y": x}, tensor=Tensor("x", "float32", (1, 4))) == (
        None,
        "the graph takes batches of exactly 1",
    )

    def one_only(x: Any) -> dict[str, Any]:
        if len(x) > 1:
            raise InputError("one sample only")
        return {"y": x}

    assert found(one_only) == (None, "the canaries cannot be run in one batch: one sample only")


def test_inputs_that_all_samples_share_must_be_equal_and_states_have_another_axis() -> None:
    axes = Axes({"x": 0, "state": 1, "rate": None})
    tensors = [X, Tensor("state", "float32", (2, "batch", 3)), Tensor("rate", "int64", ())]
    canaries = [
        {"x": row[None], "state": np.full((2, 1, 3), at, np.float32), "rate": np.array(16)}
        for at, row in enumerate(ROWS)
    ]

    def run(x: Any, state: Any, rate: Any) -> dict[str, Any]:
        return {"y": x * rate, "next": state + 1}

    joining, _ = find_joining(Graph(run).run, canaries, tensors, axes)
    assert joining is not None and joining.outputs == {"y": 0, "next": 1}
    assert joining.rows(canaries[0]) == 1
    assert joining.key(canaries[0]) == joining.key(canaries[1])
    assert joining.key(canaries[0]) != joining.key({**canaries[1], "rate": np.array(8)})
    assert joining.key(canaries[0]) != joining.key({**canaries[1], "state": np.zeros((2, 1, 4), np.float32)})
    assert joining.joined(canaries)["state"].shape == (2, 3, 3)
