"""Which version answers a request: by a share of the requests, or of the callers."""

from __future__ import annotations

import hashlib

_RANGE = 1 << 64


def position(key: str, salt: str) -> float:
    """Return where a key lies in [0, 1): the same for the same key and salt, uniform over keys.

    The salt is the id of the rollout, so that other callers come first in each rollout.
    """
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / _RANGE


def is_challenger(place: float, weight: float) -> bool:
    """Return whether the challenger answers at a share `weight`. Who gets it at some share keeps it at larger ones."""
    return place < weight
