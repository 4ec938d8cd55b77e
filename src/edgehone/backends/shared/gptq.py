"""GPTQ's arithmetic in float32 matrix products, with numpy: the same for every framework's grid (worker side).

Columns are rounded one at a time, and each column's error is compensated in the columns that follow, weighted by the
second moments of the inputs (Frantar et al., "GPTQ", 2022, arXiv:2210.17323, algorithm 1). The updates are batched as
there, but recursively: a span of columns is rounded by its halves, and the errors of the first half reach the second in
one matrix product. So nearly all work is done in large products, and rounding itself stays in the caches.

Arrays are transposed, [columns, rows]: a column of the matrix is contiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgehone.backends.shared.products import add_product, inverse_of_lower, product

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# Columns whose grid is asked for at once: the block of the paper.
COLUMNS = 128
# Added to the diagonal of the moments, as a share of its mean: the value of the paper.
DAMPING = 0.01
# Columns that are updated one by one. Their rows stay in the second-level cache.
_LEAF = 16
_MORE_DAMPING = 10.0


@dataclass(frozen=True)
class Levels:
    """The values that a span of columns may have: scale · code - zero, with codes of 0 to `most`.

    `scale` and `zero` are float32 [columns, rows], or broadcast to it.
    """

    scale: Any
    zero: Any
    most: int


@dataclass(frozen=True)
class Factor:
    """What GPTQ needs of the inputs' second moments: the order of the columns, and two matrices in that order.

    `upper` is triangular with H⁻¹ = upperᵀ · upper; `damped` is H, the moments with the damping, and `own` the diagonal
    of the moments without it.
    """

    order: NDArray[np.int64]
    upper: Floats
    damped: Floats
    own: Floats


def factor(moments: Floats, sort: bool = True, unit: int = 1) -> Factor:
    """Return the factor of second moments [columns, columns]. The argument is not changed.

    `sort`: the most important inputs first, whose errors are then compensated in the less important ones; every `unit`
    of inputs stays together. Inputs that are never used get a moment of the damping alone. If the moments are not
    positive definite in float32, the damping is increased tenfold until they are.
    """
    import numpy as np

    diagonal = np.diag(moments)
    units = np.arange(len(moments)).reshape(-1, unit)
    order = units[np.argsort(-diagonal.reshape(-1, unit).sum(1))].reshape(-1) if sort else units.reshape(-1)
    damped = moments[np.ix_(order, order)] if sort else moments.copy()
    damping = float(DAMPING * diagonal.mean()) or 1.0
    while True:
        damped[np.diag_indices_from(damped)] = diagonal[order] + np.float32(damping)
        try:
            # The factor of the reversed matrix, reversed, is the upper one of the inverse.
            upper = inverse_of_lower(np.ascontiguousarray(damped[::-1, ::-1]))[::-1, ::-1]
            break
        except np.linalg.LinAlgError:
            damping *= _MORE_DAMPING
    return Factor(order, np.ascontiguousarray(upper), damped, diagonal[order])


def shift(cross: Floats, found: Factor, share: float) -> Floats:
    """Return the matrix by which weights are multiplied before they are rounded, less the identity.

    The inputs x come from layers that are rounded already, and `cross` is the mean of x' xᵀ with the exact model's
    inputs x'. Weights W (x' xᵀ) H⁻¹ give, for the inputs as they are, the outputs that are nearest to the exact model's
    (GPTAQ, Li et al., 2025, arXiv:2504.02692). `share` of the way is gone. `cross` is overwritten.
    """
    import numpy as np

    # The damping is added to both, so that equal inputs change nothing.
    order = found.order
    left: Floats = cross[np.ix_(order, order)]
    left -= found.damped
    left[np.diag_indices_from(left)] += np.diag(found.damped) - found.own
    cross[np.ix_(order, order)] = product(product(left, found.upper.T), found.upper) * np.float32(share)
    return cross


def round_columns(
    left: Floats, upper: Floats, levels: Callable[[int, int], Levels], columns: int = COLUMNS
) -> tuple[NDArray[np.uint8], Floats]:
    """Round weights [columns, rows] and return their codes and the squared output error of each row.

    `left` is overwritten. `levels(start, end)` returns the grid of at most `columns` columns; it is called in order,
    when `left[start:end]` holds the weights with all compensations so far. The error is GPTQ's own sum, which is the
    loss under the damped moments.
    """
    import numpy as np

    codes = np.empty(left.shape, np.uint8)

    def span(start: int, end: int) -> None:
        grid = levels(start, end)
        scale = np.broadcast_to(grid.scale, (end - start, left.shape[1]))
        zero = np.broadcast_to(grid.zero, scale.shape)
        safe = np.where(scale == 0, np.float32(1), scale)

        def leaf(low: int, high: int) -> None:
            for at in range(low, high):
                weight, own = left[at], at - start
                code = weight + zero[own]
                code /= safe[own]
                np.rint(code, out=code)
                np.clip(code, 0, grid.most, out=code)
                codes[at] = code
                code *= scale[own]
                code -= zero[own]
                weight -= code
                weight /= upper[at, at]  # from here on this is the column's error
                left[at + 1 : high] -= np.multiply.outer(upper[at, at + 1 : high], weight)

        _halved(left, upper, start, end, _LEAF, leaf)

    _halved(left, upper, 0, len(left), columns, span)
    return codes, np.einsum("ij,ij->j", left, left)


def round_units(
    left: Floats, upper: Floats, unit: int, nearest: Callable[[int, Floats, Floats], Floats]
) -> tuple[Floats, Floats]:
    """Round `unit` columns at a time; return their values, and the squared output error of each row.

    `left` is overwritten. `nearest(at, weights, metric)` returns the values for the columns from `at` on, given the
    weights [unit, rows] with all compensations so far and the metric [unit, unit] of their errors: what they cost
    after the best compensation in the columns that follow (block LDL of QuIP#, arXiv:2402.04396).
    """
    import numpy as np

    values = np.empty_like(left)

    def leaf(low: int, high: int) -> None:
        for at in range(low, high, unit):
            part = slice(at, at + unit)
            inverse = np.linalg.inv(upper[part, part])
            values[part] = nearest(at, left[part], inverse @ inverse.T)
            left[part] = product(np.ascontiguousarray(inverse.T), left[part] - values[part])
            if at + unit < high:
                add_product(left[at + unit : high], upper[part, at + unit : high].T, left[part], -1.0)

    _halved(left, upper, 0, len(left), _LEAF, leaf)
    return values, np.einsum("ij,ij->j", left, left)


def _halved(
    left: Floats, upper: Floats, start: int, end: int, unit: int, each: Callable[[int, int], None]
) -> None:
    """Call `each` for every `unit` columns in order, and pass the errors of each half on to the other."""
    if end - start <= unit:
        each(start, end)
        return
    middle = start + ((end - start - 1) // unit + 1) // 2 * unit
    _halved(left, upper, start, middle, unit, each)
    add_product(left[middle:end], upper[start:middle, middle:end].T, left[start:middle], -1.0)
    _halved(left, upper, middle, end, unit, each)


def losses(errors: Floats, damped: Floats) -> Floats:
    """Return the squared output error of each row, for weight errors [columns, rows]."""
    import numpy as np

    lost: Floats = np.einsum("ij,ij->j", errors, product(damped, errors))
    return lost
