"""Products and factors of matrices: by numpy, and by torch in a worker that has loaded it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.shared import products
from tests.backends import productfunctions


def test_by_numpy() -> None:
    found = productfunctions.products_off()
    assert found.pop("torch") == 0 and found and max(found.values()) < 1e-4


@pytest.mark.real
def test_by_torch(
    run_worker: Callable[..., dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    found = run_worker("pytorch", "productfunctions:products", {}, {}, tmp_path / "products")
    assert found.pop("torch") == 1 and found and max(found.values()) < 1e-4


def test_every_item_is_worked_on_and_an_error_is_raised() -> None:
    done: list[int] = []
    products.each_in_a_thread(done.append, range(5), 2)
    assert sorted(done) == [0, 1, 2, 3, 4]

    def fail(item: Any) -> None:
        raise ValueError(f"no {item}")

    with pytest.raises(ValueError, match="no 1"):
        products.each_in_a_thread(fail, [1], 2)


def test_what_is_not_positive_definite_is_an_error() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        products.inverse_of_lower(-np.eye(300, dtype=np.float32))
