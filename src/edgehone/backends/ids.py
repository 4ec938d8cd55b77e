"""Token ids as a session must refuse them (worker side)."""

from __future__ import annotations

from collections.abc import Sequence

from edgehone.errors import InputError


def check_ids(ids: Sequence[int], vocabulary: int) -> None:
    """Raise InputError where there are none, or one is outside the vocabulary.

    Frameworks take such ids in silence: numpy counts negative ones from the end, a gather of OpenVINO gives zeros.
    """
    if not len(ids):
        raise InputError("no token ids were given")
    for bad in (min(ids), max(ids)):
        if not 0 <= bad < vocabulary:
            raise InputError(f"token id {bad} is outside the vocabulary of {vocabulary}")
