"""The text of an answer, piece by piece, up to the first of its stop strings (worker side)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.worker.stable_text import StableText


class TextStream:
    """Decodes ids as they come. What may be the beginning of a stop string is held back until that is decided."""

    def __init__(self, text: StableText, stops: Sequence[str] = ()) -> None:
        self._text, self._stops = text, [stop for stop in stops if stop]
        self._held, self._stopped = "", False

    def add(self, ids: Sequence[int], *, last: bool = False) -> tuple[str, bool]:
        """Add ids. Return the text that is certain, and whether a stop string was found, which is not returned."""
        if self._stopped:
            return "", True
        more = "".join(self._text.add(token) for token in ids)
        if last:
            more += self._text.finish()
        text = self._held + more
        places = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if places:
            self._stopped = True
            return text[: min(places)], True
        kept = 0 if last else self._longest_beginning(text)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept], False

    def _longest_beginning(self, text: str) -> int:
        """Return the length of the longest end of the text that is the beginning of a stop string."""
        return max(
            (
                size
                for stop in self._stops
                for size in range(1, min(len(stop), len(text) + 1))
                if text.endswith(stop[:size])
            ),
            default=0,
        )
