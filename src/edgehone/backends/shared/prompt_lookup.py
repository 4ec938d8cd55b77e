"""Drafts of the next tokens from the text so far: what followed the last tokens the last time that they occurred.

No model is asked, so a draft costs nothing but its verification. It helps where answers repeat their prompt: edits of
code, extraction, summaries (Saxena, "Prompt lookup decoding", 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

# Lengths of the n-grams that are looked up, the longest first.
LENGTHS = (3, 2)


class Lookup:
    """The text so far, with the place that follows each n-gram's latest occurrence."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for one in ids:
            self.add(one)

    def add(self, token: int) -> None:
        """Append a token. The n-grams that end before it are known from now on."""
        end = len(self._ids)
        for length in LENGTHS:
            if end >= length:
                self._after[tuple(self._ids[end - length :])] = end
        self._ids.append(token)

    def draft(self, most: int) -> list[int]:
        """Return at most `most` tokens that may follow; none if the last tokens are new."""
        for length in LENGTHS:
            if len(self._ids) >= length:
                place = self._after.get(tuple(self._ids[-length:]))
                if place is not None:
                    return self._ids[place : place + most]
        return []
