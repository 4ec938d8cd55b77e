"""Worker side: the logits of a session of a language model, and the distance of two of them.

Distances between logits are Kullback-Leibler divergences in nats, averaged over positions, as in the parity check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgehone.worker.conformance.outcome import demand
from edgehone.worker.logprobs import exact_kl, log_softmax

if TYPE_CHECKING:
    from edgehone.backends.sessions import (
        Logits,
    )


def float32_chunks(chunks: Any) -> list[Any]:
    """Return the chunks of logits that score() yields. Raises Failed unless they are float32 [n, vocabulary]."""
    import numpy as np

    found = []
    for chunk in chunks:
        good = isinstance(chunk, np.ndarray) and chunk.dtype == np.float32 and chunk.ndim == 2
        shown = f"{getattr(chunk, 'dtype', type(chunk).__name__)} {getattr(chunk, 'shape', '')}"
        demand(good, f"a chunk is {shown.strip()}, not float32 [n, vocabulary]")
        found.append(chunk)
    demand(bool(found), "score() yields no chunk")
    return found


def score_of(session: Any, ids: Sequence[int]) -> Logits:
    """Return the logits of a session for ids, one row each."""
    import numpy as np

    return np.concatenate([np.array(chunk, np.float32, copy=True) for chunk in session.score(list(ids))])


def near(first: Logits, second: Logits, most: float, what: str = "") -> str:
    """Return the distance of two scores of the same ids. Raises Failed if it exceeds `most`."""
    demand(first.shape == second.shape, f"{first.shape}, then {second.shape} {what}".rstrip())
    distance = float(exact_kl(log_softmax(first), log_softmax(second)).mean())
    seen = f"{distance:.2g} nats apart {what}".rstrip()
    demand(distance <= most, f"{seen}, but rounding explains at most {most:g}")
    return seen
