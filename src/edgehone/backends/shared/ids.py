"""Validate token ids, and pad batches of them (worker side)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgehone.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_ids(ids: Sequence[int], vocabulary: int) -> None:
    """Raise InputError if there are no ids, or one is outside the vocabulary.

    Frameworks accept such ids silently: numpy counts negative ones from the end, OpenVINO's Gather returns zeros.
    """
    if not len(ids):
        raise InputError("there are no token ids")
    for bad in (min(ids), max(ids)):
        if not 0 <= bad < vocabulary:
            raise InputError(f"token id {bad} is outside the vocabulary of {vocabulary}")


def padded(prompts: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return prompts as an array [prompts, longest], padded with 0 on the left, and the mask: 1 for their own ids."""
    import numpy as np

    longest = max(map(len, prompts))
    ids, mask = (np.zeros((len(prompts), longest), np.int64) for _ in range(2))
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :], mask[row, longest - len(prompt) :] = prompt, 1
    return ids, mask
