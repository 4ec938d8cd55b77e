"""The nearest values of a lookup type to given ones, where errors are weighted by a matrix (worker side).

For targets t and values q of eight weights, the error is (t - q)ᵀ M (t - q), with one M for all rows. Signs are those
of the targets; where their number must be even and is not, the weight that loses least gets the other sign. For every
pattern of signs and every entry of the table the quadratic part of the error is computed once; the rest is one product
of the rows with the table. Entries of four weights are chosen one after the other, the first for the best that the
second can still do.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp.lookup import TABLES, UNIT, grid
from edgehone.backends.shared.products import product

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


def nearest(kind: str, targets: Floats, metric: Floats) -> Floats:
    """Return the values [8, rows] that are nearest to targets in units of the scale, in the metric [8, 8]."""
    import numpy as np

    table = TABLES[kind]
    signs = np.where(targets < 0, np.float32(-1), np.float32(1))
    if table.even:
        _make_even(signs, targets, metric, np.zeros(targets.shape[1], bool))
    if table.width == UNIT:
        return signs * _entries(kind, signs, targets, metric)
    half = UNIT // 2
    own, across, rest = metric[:half, :half], metric[:half, half:], metric[half:, half:]
    back = np.linalg.solve(rest, across.T)
    first = signs[:half] * _entries(kind, signs[:half], targets[:half], own - across @ back)
    left = targets[half:] + product(np.ascontiguousarray(back), targets[:half] - first)
    other = np.where(left < 0, np.float32(-1), np.float32(1))
    if table.even:
        _make_even(other, left, rest, (signs[:half] < 0).sum(0) % 2 == 1)
    second = other * _entries(kind, other, left, rest)
    return np.concatenate([first, second])


def nearest_scalars(targets: Floats) -> Floats:
    """Return the nearest of the sixteen values of IQ4_XS and IQ4_NL to targets in units of the scale."""
    import numpy as np

    # The middles between the values are multiples of a half.
    halves = np.clip(np.floor(2 * targets), -256, 255).astype(np.int16)
    found: Floats = _nearest_by_halves()[halves + 256]
    return found


@cache
def _nearest_by_halves() -> Floats:
    import numpy as np

    levels = grid("IQ4_NL")[:, 0]
    middles = (levels[1:] + levels[:-1]) / 2
    return levels[np.searchsorted(middles, np.arange(-256, 256) / 2, side="right")]


def _make_even(signs: Floats, targets: Floats, metric: Floats, odd: Any) -> None:
    """Change the sign of the weight that loses least where the number of negative ones is not even (or `odd`)."""
    import numpy as np

    wrong = np.flatnonzero(((signs < 0).sum(0) % 2 == 1) != odd)
    weight = np.diag(metric)[:, None]
    least = np.argmin(weight * np.abs(targets[:, wrong]), 0)
    signs[least, wrong] *= -1


def _entries(kind: str, signs: Floats, targets: Floats, metric: Floats) -> Floats:
    """Return the magnitudes [width, rows] of the best entries for given signs."""
    import numpy as np

    width, table = len(signs), grid(kind)
    first, second = np.triu_indices(width)
    weights = metric[first, second] * np.where(first == second, 1, 2)
    quadratic = product(np.ascontiguousarray(_patterns(width) * weights, np.float32), _pairs(kind))
    # A pattern and its opposite have the same squares, so the last weight counts as positive.
    negative = signs < 0
    number = (negative ^ negative[-1])[:-1].T @ (1 << np.arange(width - 1))
    pull = signs * product(np.ascontiguousarray(metric), targets)
    cost = product(np.ascontiguousarray(pull.T), _doubled(kind))
    cost += quadratic[number]
    return np.ascontiguousarray(table[np.argmin(cost, 1)].T)


@cache
def _patterns(width: int) -> Floats:
    """Return the products of signs with each other [2^(width - 1), pairs]; bit i tells whether weight i is negative."""
    import numpy as np

    negative = np.arange(1 << (width - 1))[:, None] >> np.arange(width) & 1
    signs = np.where(negative, np.float32(-1), np.float32(1))
    first, second = np.triu_indices(width)
    return signs[:, first] * signs[:, second]


@cache
def _pairs(kind: str) -> Floats:
    """Return the products of each entry's magnitudes with each other [pairs, entries]."""
    import numpy as np

    table = grid(kind)
    first, second = np.triu_indices(table.shape[1])
    return np.ascontiguousarray((table[:, first] * table[:, second]).T)


@cache
def _doubled(kind: str) -> Floats:
    import numpy as np

    return np.ascontiguousarray(-2 * grid(kind).T)
