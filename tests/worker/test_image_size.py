"""The height and width that pictures get: what the graph states, else what the user does."""

from __future__ import annotations

import re
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.inputs.preprocessing import table
from edgehone.model.info import Tensor
from edgehone.worker.image_arrays import image_input, image_size

FREE = Tensor("x", "float32", ("batch", 3, "height", "width"))
FIXED = Tensor("x", "float32", ("batch", 480, 640, 3))
HALF = Tensor("x", "float32", ("batch", 3, 480, None))


@pytest.mark.parametrize(
    ("tensor", "given", "size"),
    [
        (FIXED, None, (480, 640)),
        (FIXED, [480, 640], (480, 640)),
        (FREE, [480, 640], (480, 640)),
        (HALF, [480, 320], (480, 320)),
    ],
)
def test_the_size_is_stated_by_the_graph_or_the_user(
    tensor: Tensor, given: list[int] | None, size: tuple[int, int]
) -> None:
    found, channels, axis = image_input([tensor], {})
    assert (found, channels) == (tensor, 3)
    assert image_size(found, axis, given) == size


@pytest.mark.parametrize(
    ("tensor", "given", "said"),
    [
        (FREE, None, "takes images of any size"),
        (HALF, None, "takes images of any size"),
        (FIXED, [640, 480], "and the input x has a height and width of [480, 640]"),
        (HALF, [481, 320], "images become [481, 320] pixels"),
    ],
)  # fmt: skip
def test_a_size_that_is_missing_or_contradicts_is_refused(
    tensor: Tensor, given: list[int] | None, said: str
) -> None:
    _, _, axis = image_input([tensor], {})
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        image_size(tensor, axis, given)
    assert caught.value.hint


@pytest.mark.parametrize(("given", "size"), [(640, [640, 640]), ([480, 640], [480, 640]), ([7], [7, 7])])
def test_the_table_of_images(given: Any, size: list[int]) -> None:
    stated = {"size": given, "scale": 1.0, "mean": [0.5, 0.5, 0.5]}
    assert table(stated) == {**stated, "size": size}


@pytest.mark.parametrize("given", [0, -1, 1.5, True, "640", [], [1, 2, 3], [640, 0], 10**6])
def test_a_size_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"\[images\] size = ") as caught:
        table({"size": given})
    assert "[480, 640]" in str(caught.value.hint)
