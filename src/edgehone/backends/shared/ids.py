"""Token ids as a session must refuse them, and as a batch of them is padded (worker side)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgehone.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_ids(ids: Sequence[int], vocabulary: int) -> None:
    """Raise InputError where there are none, or one is outside the vocabulary.

    Frameworks take such ids in silence: numpy counts negative ones from the end, a gather of OpenVINO gives zeros.
    """
    if not len(ids):
        raise InputError("no token ids were given")
    for bad in (min(ids), max(ids)):
        if not 0 <= bad < vocabulary:
            raise InputError(f"token id {bad} is outside the vocabulary of {vocabulary}")


def padded(prompts: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Prompts as an array [prompts, longest], shorter ones filled up on the left, and the mask: 1 for their own ids."""
    import numpy as np

    longest = max(map(len, prompts))
    ids, mask = (np.zeros((len(prompts), longest), np.int64) for _ in range(2))
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :], mask[row, longest - len(prompt) :] = prompt, 1
    return ids, mask
