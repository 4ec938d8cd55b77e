"""Routing agreement: whether a mixture of experts still sends each token to the same experts.

`routing` (worker side) notes what a runtime chooses for the evaluation's windows, `agreement` (core side)
compares that with what the original chooses.
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
    """The share of tokens, over all blocks that both have, whose set of experts is the original's; and by block.

    Both folders are what `routing` wrote. `surgery` are the facts of what was removed: blocks and experts of the
    candidate are then compared under the numbers that they had. The windows are the independent samples.
    Raises EdgehoneError where the two chose for other blocks or tokens.
    """
    import numpy as np

    wanted, got = _load(original), _original_numbers(_load(candidate), surgery or {})
    missing = set(got) - set(wanted)
    if missing or not got:
        raise EdgehoneError(
            f"the candidate chose experts in blocks {sorted(got)}, the original {sorted(wanted)}"
        )
    same = {}
    for block, chosen in got.items():
        if chosen.shape != wanted[block].shape:
            raise EdgehoneError(
                f"block {block}: experts were chosen for {chosen.shape}, by the original for {wanted[block].shape}"
            )
        same[block] = (np.sort(chosen, axis=-1) == wanted[block]).all(axis=-1)
    hits = np.stack(list(same.values()), axis=-1)
    windows = np.repeat(np.arange(hits.shape[0]), hits[0].size)
    interval = st.clustered_mean(hits.astype(float).ravel(), windows)
    if interval.value in (0.0, 1.0) and interval.n > 1:
        # Windows that do not differ say nothing: Wilson's interval over the choices then.
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
    made = {}
    for block, numbers in chosen.items():
        kept = experts.get(str(block))
        own = numbers if kept is None else np.asarray(kept, np.int16)[numbers]
        made[block if blocks is None else blocks[block]] = own
    return made
