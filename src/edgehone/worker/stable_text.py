"""Print generated text piece by piece: each character once, and the whole equal to decoding the whole (worker side).

Decoding is not prefix-stable, in three ways. The bytes of a character may be spread over tokens: until the last one,
decoders return U+FFFD. SentencePiece's byte tokens are decoded run by run, and one invalid byte turns the whole run
into U+FFFD. Clean-up removes a space when the punctuation after it is generated. What may still change is held back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgehone.worker.original_tokenizer import CLEAN_UP

_INCOMPLETE = "\ufffd"


class StableText:
    """The text of tokens that are added one by one."""

    def __init__(
        self, decode: Callable[[Sequence[int]], str], is_byte: Callable[[int], bool] = lambda token: False
    ) -> None:
        """Take the function that decodes all ids, and one that tells tokens of a single byte."""
        self._decode, self._is_byte = decode, is_byte
        self.ids: list[int] = []
        self.text = ""  # what was returned so far

    def add(self, token: int) -> str:
        """Add a token. Return the text that cannot change any more and was not returned yet; often it is empty."""
        self.ids.append(token)
        if self._is_byte(token):
            return ""
        return self._advance(_settled_part(self._decode(self.ids)))

    def finish(self) -> str:
        """Return the rest of the text."""
        return self._advance(self._decode(self.ids))

    def _advance(self, text: str) -> str:
        # A decoder that changes earlier text in another way is followed up to where it agrees again.
        if not text.startswith(self.text):
            return ""
        more = text[len(self.text) :]
        self.text += more
        return more


def _settled_part(text: str) -> str:
    """Return the text without what the next tokens may change."""
    text = text.rstrip(_INCOMPLETE)
    for old, new in CLEAN_UP:
        if old.endswith(" ") and text.endswith(new):  # punctuation may take its last space away again
            text = text.removesuffix(new)
    space = text.rfind(" ")
    if space >= 0 and any(old.startswith(text[space:]) for old, _ in CLEAN_UP):
        return text[:space]
    return text
