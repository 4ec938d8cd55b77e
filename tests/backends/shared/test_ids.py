"""Invalid ids raise errors that name them."""

from __future__ import annotations

import numpy as np
import pytest

from edgehone.backends.shared.ids import check_ids
from edgehone.core.errors import InputError


@pytest.mark.parametrize("ids", [[0], [9, 0, 5], np.array([3, 9])])
def test_valid_ids_are_accepted(ids: list[int]) -> None:
    check_ids(ids, 10)


@pytest.mark.parametrize(
    ("ids", "what"),
    [
        ([], "no token ids"),
        ([3, -1], "id -1 is outside the vocabulary of 10"),
        ([10, 1], "id 10 is outside"),
        (np.array([4, 12]), "id 12 is outside"),
    ],
)
def test_invalid_ids_raise_errors(ids: list[int], what: str) -> None:
    with pytest.raises(InputError, match=what):
        check_ids(ids, 10)
