"""Products and factors of float32 matrices, by torch where the worker has loaded it (worker side).

numpy's wheels bring OpenBLAS, whose threads spin while they wait for each other: beside other programs on the same two
processors, that was 75 of 100 samples of GPTQ's processor time. Its Cholesky decomposition is slow for large matrices.
Without torch (MLX's environment) numpy computes all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# Below this size a triangular matrix is inverted by LAPACK.
_SMALL = 128


def product(left: Floats, right: Floats) -> Floats:
    """Return left · right. Strides must not be negative."""
    torch = sys.modules.get("torch")
    if torch is None:
        return left @ right
    found: Floats = (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()
    return found


def add_product(target: Floats, left: Floats, right: Floats, factor: float = 1.0) -> None:
    """Add factor · left · right to the target, in place. Strides must not be negative."""
    import numpy as np

    torch = sys.modules.get("torch")
    if torch is None:
        target += np.float32(factor) * (left @ right)
        return
    torch.from_numpy(target).addmm_(torch.from_numpy(left), torch.from_numpy(right), alpha=factor)


def inverse_of_lower(matrix: Floats) -> Floats:
    """Return L⁻¹ of the Cholesky decomposition L·Lᵀ of a matrix.

    Raises LinAlgError if the matrix is not positive definite.
    """
    import numpy as np

    torch = sys.modules.get("torch")
    if torch is None:
        return _inverse_by_halves(matrix)
    lower, failed = torch.linalg.cholesky_ex(torch.from_numpy(matrix))
    if failed:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    found: Floats = torch.linalg.solve_triangular(lower, torch.eye(len(matrix)), upper=False).numpy()
    return found


def _inverse_by_halves(matrix: Floats) -> Floats:
    """Do the same in numpy, nearly all of it in matrix products."""
    import numpy as np

    size = len(matrix)
    if size <= _SMALL:
        lower = np.linalg.cholesky(matrix)
        return np.tril(np.linalg.inv(lower)).astype(np.float32)
    half = size // 2
    inverse = np.zeros_like(matrix)
    inverse[:half, :half] = first = _inverse_by_halves(matrix[:half, :half])
    below = matrix[half:, :half] @ first.T
    inverse[half:, half:] = second = _inverse_by_halves(matrix[half:, half:] - below @ below.T)
    inverse[half:, :half] = -(second @ (below @ first))
    return inverse


def each_in_a_thread(work: Callable[[Any], None], items: Iterable[Any], threads: int) -> None:
    """Call `work` for every item, in so many threads at a time, each of which computes its products alone.

    Raises what `work` raises.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    # Torch's number is partly that of the thread which sets it, and partly that of the process.
    alone = (lambda: torch.set_num_threads(1)) if torch else None
    try:
        with ThreadPoolExecutor(max(threads, 1), initializer=alone) as pool:
            for done in [pool.submit(work, item) for item in items]:
                done.result()
    finally:
        if torch:
            torch.set_num_threads(before)
