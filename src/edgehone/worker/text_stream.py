"""The text of an answer, piece by piece, up to the first of its stop strings (worker side)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgehone.backends.serving import TokenLogprobs

# What the OpenAI API gives for tokens of no probability; JSON has no minus infinity.
_LEAST_LOGPROB = -9999.0


class TextStream:
    """Looks for stop strings. What may be the beginning of one is held back until that is decided."""

    def __init__(
        self, stops: Sequence[str] = (), bytes_of: Callable[[int], bytes] = lambda token: b""
    ) -> None:
        """`bytes_of` returns the bytes of a token, for `logprobs`."""
        self._stops, self._bytes_of = [stop for stop in stops if stop], bytes_of
        self._held, self._stopped = "", False
        # Log-probabilities of tokens whose text is held back, or came together with such text.
        self._waiting: list[dict[str, Any]] = []
        self._ahead = 0  # bytes of the text that was returned, less those of the tokens

    def add(self, more: str, *, last: bool = False) -> tuple[str, bool]:
        """Add text. Return the text that is certain, and whether a stop string was found, which is not returned."""
        if self._stopped:
            return "", True
        text = self._held + more
        places = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if places:
            self._stopped = True
            self._held = ""
            return text[: min(places)], True
        kept = 0 if last else self._longest_beginning(text)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept], False

    def logprobs(self, entries: Sequence[TokenLogprobs], text: str) -> list[dict[str, Any]]:
        """Return log-probabilities in the form of the OpenAI API, of the tokens of the text that is certain.

        `entries` are of the tokens whose text was just added, `text` is what `add` returned. Those of tokens that may
        belong to a stop string wait; when one was found, the entries end with the last token of the text before it.
        """
        for one in entries:
            others = [self._entry(token, logprob) for token, logprob in one.top]
            self._waiting.append({**self._entry(one.token, one.logprob), "top_logprobs": others})
        self._ahead += len(text.encode())
        if self._held:
            return []
        found, self._waiting = self._waiting, []
        kept: list[dict[str, Any]] = []
        for entry in found:
            if self._stopped and self._ahead <= 0:
                break
            kept.append(entry)
            self._ahead -= len(entry["bytes"])
        return kept

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        data = self._bytes_of(token)
        try:
            text = data.decode()
        except UnicodeDecodeError:  # a part of a character is written as the OpenAI API writes it
            text = "".join(f"\\x{byte:02x}" for byte in data)
        return {"token": text, "logprob": max(logprob, _LEAST_LOGPROB), "bytes": list(data)}

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
