"""Print generated text piece by piece: each character once, and the whole equal to decoding the whole (worker side).

Decoding is not prefix-stable, in three ways. The bytes of a character may be spread over tokens: until the last one,
decoders return U+FFFD. SentencePiece's byte tokens are decoded run by run, and one invalid byte turns the whole run
into U+FFFD. Clean-up removes a space when the punctuation after it is generated. What may still change is held back.

Decoding all ids again for each token would take time that grows with the square of their number. So only the last ids
are decoded, after some that only give context; see `_shorten`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgehone.worker.original_tokenizer import CLEAN_UP

_INCOMPLETE = "\ufffd"
# The ids before the decoded ones that give context: more than any token's bytes or any clean-up reaches back.
_CONTEXT = 32
# So many ids are decoded before the first of them are dropped.
_WINDOW = 128
# So many ids are added at a time: fewer than the context, so that what is dropped was returned before.
_STEP = 16
# Places at which the ids may be cut that are tried at a time.
_TRIES = 8


class StableText:
    """The text of tokens that are added one by one."""

    def __init__(
        self, decode: Callable[[Sequence[int]], str], is_byte: Callable[[int], bool] = lambda token: False
    ) -> None:
        """Take the function that decodes ids, and one that tells tokens of a single byte."""
        self._decode, self._is_byte = decode, is_byte
        self._window: list[int] = []  # the ids that are decoded
        self._skipped = 0  # characters of the window's text that belong to its context
        self._returned = ""  # what was returned of the window's text after the context
        self._most = _WINDOW

    def add(self, token: int) -> str:
        """Add a token. Return the text that cannot change any more and was not returned yet; often it is empty."""
        return self.add_all([token])

    def add_all(self, tokens: Sequence[int]) -> str:
        """Add tokens together, which are decoded once. Return the text as `add` does."""
        if len(tokens) > _STEP:
            return "".join(self.add_all(tokens[at : at + _STEP]) for at in range(0, len(tokens), _STEP))
        self._window += tokens
        if not tokens or self._is_byte(tokens[-1]):
            return ""
        if len(self._window) > self._most:
            self._shorten()
        return self._advance(_settled_part(self._text()))

    def finish(self) -> str:
        """Return the rest of the text."""
        return self._advance(self._text())

    def _text(self) -> str:
        return self._decode(self._window)[self._skipped :]

    def _advance(self, text: str) -> str:
        # A decoder that changes earlier text in another way is followed up to where it agrees again.
        if not text.startswith(self._returned):
            return ""
        more = text[len(self._returned) :]
        self._returned = text
        return more

    def _shorten(self) -> None:
        """Drop the first ids, at a place where the text after it is the same without them.

        The text after a place is the window's text without that of the ids before it. It must equal the text of the
        ids after the place when only `_CONTEXT` ids stand before them. Where it does not, other places are tried, and
        later again, with twice as many ids.
        """
        whole, end = self._text(), len(self._window) - _CONTEXT
        for place in range(end, end - _TRIES, -1):
            if self._is_byte(self._window[place]) or self._is_byte(self._window[place - 1]):
                continue
            before = self._decode(self._window[:place])[self._skipped :]
            kept, context = self._window[place - _CONTEXT :], self._window[place - _CONTEXT : place]
            skipped = self._decode(context)
            text = self._decode(kept)
            # Decoders that strip the first spaces of a text must find something else in the context.
            fits = bool(skipped.strip(" ")) and text.startswith(skipped) and self._returned.startswith(before)
            if fits and before + text[len(skipped) :] == whole:
                self._window, self._skipped = kept, len(skipped)
                self._returned = self._returned[len(before) :]
                self._most = _WINDOW
                return
        self._most = 2 * len(self._window)


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
