"""GPTQ for MLX's groups (worker side), with numpy.

Weights are rounded column by column, and each column's error is compensated in the following columns, weighted by
the inputs on the calibration text (Frantar et al., "GPTQ", 2022, algorithm 1).

mlx-lm has its own implementation, which is not used: it compensates errors beyond a group twice (once per column,
again once per group), and its matrix products use the reference BLAS on Linux. This implementation also refits each
group's scale and bias at the end, to minimize the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rounded = tuple[NDArray[np.uint32], Floats, Floats]

# Added to the Hessian's diagonal, as a fraction of its mean; the value of the GPTQ paper.
_DAMPING = 0.01
# Factors by which the range of a group is narrowed in the search for its best scale.
_SHRINK = tuple(1 - 0.05 * step for step in range(9))
_SWEEPS = 3


def round_matrix(weight: Floats, hessian: Floats, bits: int, group: int) -> Rounded:
    """Round a matrix: return levels [rows, columns], and scales and biases [rows, columns / group].

    `weight` is [rows, columns]; `hessian` [columns, columns] is the sum of x xᵀ over the inputs x. A level q
    represents the value scale * q + bias.
    """
    import numpy as np

    weight = weight.astype(np.float64)
    hessian = hessian.astype(np.float64).copy()
    dead = np.diag(hessian) <= 0
    hessian[dead, dead] = 1.0
    importance = np.diag(hessian).copy()
    hessian[np.diag_indices_from(hessian)] += _DAMPING * importance.mean()
    # The upper Cholesky factor of the inverse tells how each column's error is distributed over later columns.
    inverse = np.linalg.cholesky(np.linalg.inv(hessian)).T
    rows, columns = weight.shape
    levels = np.zeros((rows, columns), np.uint32)
    scales, biases = (np.zeros((rows, columns // group)) for _ in range(2))
    remaining = weight.copy()
    top_level = 2**bits - 1
    for number, start in enumerate(range(0, columns, group)):
        end = start + group
        scale, bias = best_scale(remaining[:, start:end], importance[start:end], top_level)
        scales[:, number], biases[:, number] = scale, bias
        errors = np.zeros((rows, group))
        for column in range(start, end):
            value = remaining[:, column]
            level = np.clip(np.round((value - bias) / scale), 0, top_level)
            levels[:, column] = level
            error = (value - (scale * level + bias)) / inverse[column, column]
            remaining[:, column:end] -= np.outer(error, inverse[column, column:end])
            errors[:, column - start] = error
        remaining[:, end:] -= errors @ inverse[start:end, end:]
    refit(weight, hessian, (levels, scales, biases), group)
    return levels, scales, biases


def best_scale(weight: Floats, importance: Floats, most: int) -> tuple[Floats, Floats]:
    """Return scale and bias of each row of one group: those with the least weighted error among narrowed ranges.

    `most` is the highest level.
    """
    import numpy as np

    low, high = weight.min(1), weight.max(1)
    best = np.full(len(weight), np.inf)
    scale, bias = np.ones(len(weight)), np.zeros(len(weight))
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
            level = levels[:, part].astype(np.float64)
            gradient = residual @ hessian[:, part]
            weighted = level @ group_hessian
            aa, ab, bb = (weighted * level).sum(1), weighted.sum(1), group_hessian.sum()
            a, b = (gradient * level).sum(1), gradient.sum(1)
            determinant = aa * bb - ab**2
            # If all levels of a row are equal, scale and bias are undetermined; they are kept.
            solvable = determinant > 1e-9 * aa * bb
            safe = np.where(solvable, determinant, 1.0)
            by_scale = np.where(solvable, (a * bb - b * ab) / safe, 0.0)
            by_bias = np.where(solvable, (b * aa - a * ab) / safe, 0.0)
            residual[:, part] -= by_scale[:, None] * level + by_bias[:, None]
            scales[:, number] += by_scale
            biases[:, number] += by_bias


def dequantized(rounded: Rounded, group: int) -> Floats:
    """Return scale * level + bias for every weight."""
    import numpy as np

    levels, scales, biases = rounded
    return levels.astype(np.float64) * np.repeat(scales, group, axis=1) + np.repeat(biases, group, axis=1)


def pack(levels: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
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
