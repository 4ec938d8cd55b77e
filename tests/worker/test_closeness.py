"""How far outputs are from those that were given before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgehone.worker.closeness import largest

NAN = float("nan")


def of(values: Any, dtype: Any = np.float32) -> Any:
    """An array."""
    return np.array(values, dtype)


@pytest.mark.parametrize(
    ("expected", "found", "value", "holds"),
    [
        (of([1, -4]), of([1, -4]), 0, True),
        (of([1, -4]), of([1.002, -4]), 0.0005, True),
        (of([1, -4]), of([1.02, -4]), 0.005, False),
        (of([1, -4], np.float16), of([1.02, -4], np.float16), 0.00488, True),
        (of([0, 0]), of([0.0, 1e-4]), 1e-4, True),
        (of([NAN, np.inf, 2]), of([NAN, np.inf, 2]), 0, True),
        (of([NAN, 2]), of([0, 2]), np.inf, False),
        (of([np.inf, 2]), of([-np.inf, 2]), np.inf, False),
        (np.array([1, 2, 3]), np.array([1, 2, 4]), 1 / 3, False),
        (np.arange(200), np.where(np.arange(200) == 7, 0, np.arange(200)), 0.005, True),
        (np.array([True]), np.array([True]), 0, True),
        (of([1, 2]), of([[1, 2]]), np.inf, False),
        (of([1, 2]), of([1, 2], np.float64), np.inf, False),
        (np.zeros((0, 3)), np.zeros((0, 3)), 0, True),
    ],
)  # fmt: skip
def test_difference_of_one_output(expected: Any, found: Any, value: float, holds: bool) -> None:
    difference = largest([{"a": expected}], [{"a": found}])
    assert difference.value == pytest.approx(value, rel=1e-2) and difference.holds is holds


def test_the_scale_is_that_of_all_requests_and_the_worst_output_is_named() -> None:
    expected = [
        {"a": of([0.001]), "b": of([1])},
        {"a": of([10]), "b": of([1])},
    ]
    found = [
        {"a": of([0.002]), "b": of([1])},
        {"a": of([10]), "b": of([1.01])},
    ]
    difference = largest(expected, found)
    assert difference.output == "b" and difference.value == pytest.approx(0.01, rel=1e-3)
    assert largest(expected, [{"b": one["b"]} for one in expected]).output == "a"
