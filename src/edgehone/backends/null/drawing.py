"""Draw a token of the null backend from its logits (worker side)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgehone.backends.sessions import Sampling


def draw(logits: NDArray[np.float64], seen: set[int], sampling: Sampling, random: np.random.Generator) -> int:
    """Return an id drawn from logits as `sampling` says; `seen` are the ids that the repetition penalty counts."""
    import numpy as np

    index = list(seen)
    penalty = sampling.repetition_penalty
    logits[index] = np.where(logits[index] > 0, logits[index] / penalty, logits[index] * penalty)
    if sampling.temperature == 0:
        return int(logits.argmax())
    order = np.argsort(-logits)[: sampling.top_k or None]
    shares = np.exp((logits[order] - logits[order[0]]) / sampling.temperature)
    shares /= shares.sum()
    kept = np.cumsum(shares) - shares < sampling.top_p
    return int(random.choice(order[kept], p=shares[kept] / shares[kept].sum()))
