"""The error of rounding a weight matrix with a quantizer that approximates those of all frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.transform.precision.assign import ANCHOR, BITS, GROUPS, error_key

if TYPE_CHECKING:
    from edgehone.backends.pytorch.matrices import Matrix

# Weights that are rounded at a time; each takes about 40 bytes meanwhile.
_CHUNK = 1 << 24
# Weights whose errors are compared between precisions: thousands of rows of any matrix.
SAMPLED = 1 << 22
# Factors applied to a group's range when searching the scale with the smallest error.
_SHRINK = tuple(1 - 0.05 * step for step in range(9))


def round_matrix(one: Matrix, folder: Path) -> None:
    """Set the rounding error at the anchor precision, and each precision's weighted squared error relative to it.

    The errors are those of about `SAMPLED` weights in evenly spaced rows, since each takes as long as the anchor's.
    """
    columns = one.shape[1]
    one.delta = rounding_error(one, folder)
    known = {(bits, group) for bits in BITS for group in GROUPS if not group or columns % group == 0}
    weight = one.module.weight.detach()[:: max(1, one.shape[0] * columns // SAMPLED)].float()

    def weighted(bits: int, group: int) -> float:
        delta = rounded(weight, bits, group or columns, one.importance) - weight
        return float((delta.square() * one.importance).sum())

    least = max(weighted(*_anchor(columns)), 1e-30)
    one.errors = {error_key(bits, group): weighted(bits, group) / least for bits, group in sorted(known)}


def rounding_error(one: Matrix, folder: Path) -> Any:
    """Return the rounding error at the anchor precision."""
    columns = one.shape[1]
    bits, group = _anchor(columns)
    found = _empty_error(one, folder)
    for rows in row_parts(one):
        weight = one.module.weight.detach()[rows].float()
        found[rows] = (rounded(weight, bits, group or columns, one.importance) - weight).to(found.dtype)
    return found


def _anchor(columns: int) -> tuple[int, int]:
    return ANCHOR if columns % ANCHOR[1] == 0 else (ANCHOR[0], 0)


def row_parts(one: Matrix) -> list[slice]:
    """Return the slices of rows that are rounded at a time."""
    step = max(1, _CHUNK // one.shape[1])
    return [slice(at, at + step) for at in range(0, one.shape[0], step)]


def _empty_error(one: Matrix, folder: Path) -> Any:
    """Return an empty bfloat16 matrix: in a file for the embeddings and the head, which may be larger than a block."""
    import numpy as np
    import torch

    if one.block is not None:
        return torch.empty(one.shape, dtype=torch.bfloat16)
    path = folder / f"delta-{one.kind}.bin"
    return torch.from_numpy(np.memmap(path, np.int16, "w+", shape=one.shape)).view(torch.bfloat16)


def rounded(weight: Any, bits: int, group: int, importance: Any) -> Any:
    """Round a matrix to 2^bits levels over each group's range, shrunk to the factor with the smallest error.

    This backend-neutral quantizer approximates those of all frameworks. `importance` weights the columns.
    """
    import torch

    rows, columns = weight.shape
    parts = weight.reshape(rows, columns // group, group)
    weights = importance.reshape(1, columns // group, group)
    low = parts.amin(-1, keepdim=True).clamp(max=0)
    high = parts.amax(-1, keepdim=True).clamp(min=0)
    most = 2**bits - 1
    best, least = parts, None
    for shrink in _SHRINK:
        scale = ((high - low) * shrink / most).clamp(min=1e-12)
        candidate = ((parts - low * shrink) / scale).round().clamp(0, most) * scale + low * shrink
        error = ((candidate - parts).square() * weights).sum(-1, keepdim=True)
        best = candidate if least is None else torch.where(error < least, candidate, best)
        least = error if least is None else torch.minimum(error, least)
    return best.reshape(rows, columns)
