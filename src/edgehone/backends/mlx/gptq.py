"""GPTQ for MLX's groups (worker side): weights rounded one column after another, each error made good by the columns
that follow, as the calibration text weighs them. Frantar et al., "GPTQ", 2022, algorithm 1.

mlx-lm has one too. It is not used: it makes good what lies beyond a group twice (once a column, and again once a
group), and its matrices go through the reference BLAS on Linux. This one is numpy, and in the end
moves each group's scale and bias to where the error is least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rounded = tuple[NDArray[np.uint32], Floats, Floats]

# What is added to the Hessian's diagonal, as a share of its mean: GPTQ's own.
_DAMPING = 0.01
# Ends of a group are drawn in by so much at most while the best scale is sought.
_SHRINK = tuple(1 - 0.05 * step for step in range(9))
_SWEEPS = 3


def round_matrix(weight: Floats, hessian: Floats, bits: int, group: int) -> Rounded:
    """Levels [rows, columns] and, for each group, scales and biases [rows, columns / group] of a matrix.

    `weight` is [rows, columns], `hessian` [columns, columns] the sum of x xᵀ over the inputs. A level q stands for
    scale * q + bias.
    """
    import numpy as np

    weight = weight.astype(np.float64)
    hessian = hessian.astype(np.float64).copy()
    dead = np.diag(hessian) <= 0
    hessian[dead, dead] = 1.0
    importance = np.diag(hessian).copy()
    hessian[np.diag_indices_from(hessian)] += _DAMPING * importance.mean()
    # The upper Cholesky factor of the inverse holds what each column's error costs those after it.
    inverse = np.linalg.cholesky(np.linalg.inv(hessian)).T
    rows, columns = weight.shape
    levels = np.zeros((rows, columns), np.uint32)
    scales, biases = (np.zeros((rows, columns // group)) for _ in range(2))
    left = weight.copy()
    most = 2**bits - 1
    for number, start in enumerate(range(0, columns, group)):
        end = start + group
        scale, bias = best_scale(left[:, start:end], importance[start:end], most)
        scales[:, number], biases[:, number] = scale, bias
        errors = np.zeros((rows, group))
        for column in range(start, end):
            value = left[:, column]
            level = np.clip(np.round((value - bias) / scale), 0, most)
            levels[:, column] = level
            error = (value - (scale * level + bias)) / inverse[column, column]
            left[:, column:end] -= np.outer(error, inverse[column, column:end])
            errors[:, column - start] = error
        left[:, end:] -= errors @ inverse[start:end, end:]
    refit(weight, hessian, (levels, scales, biases), group)
    return levels, scales, biases


def best_scale(weight: Floats, importance: Floats, most: int) -> tuple[Floats, Floats]:
    """Scale and bias of each row of one group: of all ends drawn in a little, those with the least weighted error."""
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
    """Move scales and biases, group after group, to where the error under the Hessian is least (levels stay)."""
    import numpy as np

    levels, scales, biases = rounded
    left = weight - dequantized(rounded, group)
    for _ in range(_SWEEPS):
        for number, start in enumerate(range(0, weight.shape[1], group)):
            part = slice(start, start + group)
            own = hessian[part, part]
            level = levels[:, part].astype(np.float64)
            pull = left @ hessian[:, part]
            weighed = level @ own
            aa, ab, bb = (weighed * level).sum(1), weighed.sum(1), own.sum()
            a, b = (pull * level).sum(1), pull.sum(1)
            determinant = aa * bb - ab**2
            # A row of one level only leaves scale and bias undetermined: it stays.
            sound = determinant > 1e-9 * aa * bb
            safe = np.where(sound, determinant, 1.0)
            by_scale = np.where(sound, (a * bb - b * ab) / safe, 0.0)
            by_bias = np.where(sound, (b * aa - a * ab) / safe, 0.0)
            left[:, part] -= by_scale[:, None] * level + by_bias[:, None]
            scales[:, number] += by_scale
            biases[:, number] += by_bias


def dequantized(rounded: Rounded, group: int) -> Floats:
    """scale * level + bias of every weight."""
    import numpy as np

    levels, scales, biases = rounded
    return levels.astype(np.float64) * np.repeat(scales, group, axis=1) + np.repeat(biases, group, axis=1)


def pack(levels: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    """MLX's words of 32 bits: a row's levels one behind the other, lowest bits first, over the words' borders too.

    Raises ValueError for a row that does not fill its words.
    """
    import numpy as np

    rows, columns = levels.shape
    if columns * bits % 32:
        raise ValueError(f"{columns} levels of {bits} bits do not fill words of 32")
    low_first = levels.astype("<u4").view(np.uint8).reshape(rows, columns, 4)
    stream = np.unpackbits(low_first, axis=2, count=bits, bitorder="little").reshape(rows, columns * bits)
    return np.packbits(stream, axis=1, bitorder="little").view("<u4").astype(np.uint32)
