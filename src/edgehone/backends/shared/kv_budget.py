"""How many tokens a request to an engine may have, so that the KV caches of all fit in memory (worker side)."""

from __future__ import annotations

# Tokens in the KV caches of all places together.
_MOST_TOKENS = 32_768
_LEAST_TOKENS = 2_048


def cache_of(stated: int | None, places: int) -> int:
    """Return the tokens in a KV cache that all places share: as many as the places have one by one."""
    return places * context_of(stated, places)


def context_of(stated: int | None, places: int) -> int:
    """Return the tokens of a place: those that the model takes, as far as the memory for all places allows."""
    most = max(_LEAST_TOKENS, _MOST_TOKENS // places)
    return min(most, stated) if stated else most
