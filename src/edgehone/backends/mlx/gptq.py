"""GPTQ for MLX's groups (worker side): scale and bias of a group are chosen when its turn comes.

mlx-lm has its own implementation, which is not used: it compensates errors beyond a group twice (once per column,
again once per group), and its matrix products use the reference BLAS on Linux. The rounding is `shared.gptq`; here each
group's scale and bias are chosen for the weights as compensated so far, and refitted at the end, to minimize the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgehone.backends.shared import gptq
from edgehone.backends.shared.gptq import Levels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Rounded = tuple[NDArray[np.uint8], Floats, Floats]

# Factors by which the range of a group is narrowed in the search for its best scale.
_SHRINK = tuple(1 - 0.05 * step for step in range(9))
_SWEEPS = 3


def round_matrix(weight: Floats, hessian: Floats, bits: int, group: int) -> Rounded:
    """Round a matrix: return levels [rows, columns], and scales and biases [rows, columns / group].

    `weight` is [rows, columns]; `hessian` [columns, columns] is the sum of x xᵀ over the inputs x. A level q
    represents the value scale * q + bias.
    """
    import numpy as np

    # Groups are rounded in their order, since each has its own scale.
    factor = gptq.factor(np.asarray(hessian, np.float32), sort=False)
    importance = np.diag(factor.damped)
    rows, columns = weight.shape
    scales, biases = (np.zeros((rows, columns // group), np.float32) for _ in range(2))
    left = np.array(weight.T, np.float32, order="C")

    def levels(start: int, end: int) -> Levels:
        scale, bias = best_scale(left[start:end].T, importance[start:end], 2**bits - 1)
        scales[:, start // group], biases[:, start // group] = scale, bias
        return Levels(scale, -bias, 2**bits - 1)

    codes, _ = gptq.round_columns(left, factor.upper, levels, group)
    rounded = np.ascontiguousarray(codes.T), scales, biases
    refit(np.asarray(weight, np.float32), factor.damped, rounded, group)
    return rounded


def best_scale(weight: Floats, importance: Floats, most: int) -> tuple[Floats, Floats]:
    """Return scale and bias of each row of one group: those with the least weighted error among narrowed ranges.

    `most` is the highest level.
    """
    import numpy as np

    low, high = weight.min(1), weight.max(1)
    best = np.full(len(weight), np.inf)
    scale, bias = np.ones(len(weight), np.float32), np.zeros(len(weight), np.float32)
    for shrink in _SHRINK:
        step = np.maximum((high - low) * shrink / most, 1e-8)
        start = low + (high - low) * (1 - shrink) / 2
        level = np.clip(np.round((weight - start[:, None]) / step[:, None]), 0, most)
        error = ((weight - (step[:, None] * level + start[:, None])) ** 2 * importance).sum(1)
        better = error < best
        best = np.where(better, error, best)
        scale, bias = np.where(better, step, scale), np.where(better, start, bias)
    return scale, bias


def refit(weight: Floats, hessian: Floats, rounded: Rounded, group: int) -> None:
    """Adjust scales and biases in place, group by group, to minimize the error under the Hessian; levels are kept."""
    import numpy as np

    levels, scales, biases = rounded
    residual = weight - dequantized(rounded, group)
    for _ in range(_SWEEPS):
        for number, start in enumerate(range(0, weight.shape[1], group)):
            part = slice(start, start + group)
            group_hessian = hessian[part, part]
            level = levels[:, part].astype(np.float32)
            gradient = residual @ hessian[:, part]
            weighted = level @ group_hessian
            # The determinant is a difference of nearly equal numbers.
            aa, ab = (weighted * level).sum(1, dtype=np.float64), weighted.sum(1, dtype=np.float64)
            bb = float(group_hessian.sum(dtype=np.float64))
            a, b = (gradient * level).sum(1, dtype=np.float64), gradient.sum(1, dtype=np.float64)
            determinant = aa * bb - ab**2
            # If all levels of a row are equal, scale and bias are undetermined; they are kept.
            solvable = determinant > 1e-9 * aa * bb
            safe = np.where(solvable, determinant, 1.0)
            by_scale = np.where(solvable, (a * bb - b * ab) / safe, 0.0).astype(np.float32)
            by_bias = np.where(solvable, (b * aa - a * ab) / safe, 0.0).astype(np.float32)
            residual[:, part] -= by_scale[:, None] * level + by_bias[:, None]
            scales[:, number] += by_scale
            biases[:, number] += by_bias


def dequantized(rounded: Rounded, group: int) -> Floats:
    """Return scale * level + bias for every weight."""
    import numpy as np

    levels, scales, biases = rounded
    return levels.astype(np.float32) * np.repeat(scales, group, axis=1) + np.repeat(biases, group, axis=1)


def pack(levels: NDArray[np.integer[Any]], bits: int) -> NDArray[np.uint32]:
    """Pack levels into MLX's 32-bit words: consecutively, lowest bits first, across word boundaries.

    Raises ValueError if a row does not fill whole words.
    """
    import numpy as np

    rows, columns = levels.shape
    if columns * bits % 32:
        raise ValueError(f"{columns} levels of {bits} bits do not fill words of 32")
    low_first = levels.astype("<u4").view(np.uint8).reshape(rows, columns, 4)
    stream = np.unpackbits(low_first, axis=2, count=bits, bitorder="little").reshape(rows, columns * bits)
    return np.packbits(stream, axis=1, bitorder="little").view("<u4").astype(np.uint32)
