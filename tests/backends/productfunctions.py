"""Functions that the tests of `backends/shared/products.py` run here, and in an environment with torch."""

from __future__ import annotations

from edgehone.backends.sessions import WorkerJob


def products(job: WorkerJob) -> dict[str, float]:
    """`products_off` where torch is loaded."""
    import torch

    threads = torch.get_num_threads()
    found = products_off()
    assert torch.get_num_threads() == threads
    return found


def products_off() -> dict[str, float]:
    """How far products and factors of random matrices are from those in float64; `torch`: 1 if torch is loaded."""
    import sys

    import numpy as np

    from edgehone.backends.shared import products as library

    random = np.random.default_rng(0)
    left, right = (random.normal(size=shape).astype(np.float32) for shape in ((40, 300), (300, 50)))
    target = random.normal(size=(40, 50)).astype(np.float32)
    exact = left.astype(np.float64) @ right
    added = target.copy()
    library.add_product(added, left, right, -1.0)
    parts = np.zeros_like(target)

    def part(at: int) -> None:
        parts[at : at + 10] = library.product(left[at : at + 10], right)

    library.each_in_a_thread(part, range(0, 40, 10), 2)
    square = (right @ right.T / 50 + np.eye(300)).astype(np.float32)
    inverse = library.inverse_of_lower(square)
    refused = 1.0
    try:
        library.inverse_of_lower(-square)
    except np.linalg.LinAlgError:
        refused = 0.0
    return {
        "torch": float("torch" in sys.modules),
        "product": float(np.abs(library.product(left, right) - exact).max()),
        "of a view": float(np.abs(library.product(right.T, left.T) - exact.T).max()),
        "added": float(np.abs(added - (target - exact)).max()),
        "in threads": float(np.abs(parts - exact).max()),
        "inverse": float(np.abs(inverse @ square @ inverse.T - np.eye(300)).max()),
        "triangular": float(np.abs(np.triu(inverse, 1)).max()),
        "accepted what is not positive definite": refused,
    }
