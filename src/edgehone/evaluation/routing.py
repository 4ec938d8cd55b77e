"""Routing agreement: whether a mixture of experts still routes each token to the same experts.

`worker.routing` records the experts that a runtime chooses for the windows of the evaluation text; `agreement` compares
them with the original's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import EdgehoneError
from edgehone.core.figure import Figure
from edgehone.evaluation import statistics as st

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


FIGURE = "routing_agreement"
UNIT = "share"


def agreement(
    original: Path, candidate: Path, surgery: Mapping[str, Any] | None = None
) -> tuple[Figure, dict[str, float]]:
    """Return the share of tokens with the original's set of experts, over all blocks that both have, and by block.

    Both folders have what `worker.routing` wrote. `surgery` has the facts of what was removed, by which blocks and
    experts of the candidate get back their original numbers. The windows are the independent samples. Raises
    EdgehoneError if the two were recorded for different blocks or tokens.
    """
    import numpy as np

    original_ids, candidate_ids = _load(original), _original_numbers(_load(candidate), surgery or {})
    missing = set(candidate_ids) - set(original_ids)
    if missing or not candidate_ids:
        raise EdgehoneError(
            f"the candidate chose experts in blocks {sorted(candidate_ids)}, the original in {sorted(original_ids)}"
        )
    same = {}
    for block, chosen in candidate_ids.items():
        if chosen.shape != original_ids[block].shape:
            raise EdgehoneError(
                f"block {block}: the candidate's choices have shape {chosen.shape}, the original's "
                f"{original_ids[block].shape}"
            )
        same[block] = (np.sort(chosen, axis=-1) == original_ids[block]).all(axis=-1)
    hits = np.stack(list(same.values()), axis=-1)
    windows = np.repeat(np.arange(hits.shape[0]), hits[0].size)
    interval = st.clustered_mean(hits.astype(float).ravel(), windows)
    if interval.value in (0.0, 1.0) and interval.n > 1:
        # The windows do not vary, so Wilson's interval over the choices is used.
        wilson = st.share_interval(int(hits.sum()), hits.size)
        interval = st.Interval(interval.value, wilson.low, wilson.high, interval.n)
    by_block = {str(block): float(part.mean()) for block, part in sorted(same.items())}
    return interval.figure(UNIT, least=0.0, most=1.0), by_block


def _load(folder: Path) -> dict[int, NDArray[Any]]:
    import numpy as np

    with np.load(folder / "routing.npz") as file:
        return {int(name): file[name] for name in file.files}


def _original_numbers(
    chosen: Mapping[int, NDArray[np.int16]], surgery: Mapping[str, Any]
) -> dict[int, NDArray[np.int16]]:
    import numpy as np

    blocks: list[int] | None = surgery.get("kept_layers")
    experts: Mapping[str, list[int]] = surgery.get("kept_experts", {})
    renumbered = {}
    for block, numbers in chosen.items():
        kept = experts.get(str(block))
        original = numbers if kept is None else np.asarray(kept, np.int16)[numbers]
        renumbered[block if blocks is None else blocks[block]] = original
    return renumbered
