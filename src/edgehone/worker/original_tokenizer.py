"""The original's tokenizer from the files that a bundle carries, run by the library `tokenizers` (worker side).

`edgehone run` feeds its ids to every runtime, so that a runtime's own tokenizer does not matter. The environment of
every backend for language models has the library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError, SetupError
from edgehone.worker.token_pieces import Pieces

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# What transformers' clean_up_tokenization replaces in decoded text, in its order.
CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def _keep_no_texts(tokenizer: Any) -> None:
    """Empty the cache of a model that takes whole texts as words.

    The library keeps the tokens of the last 10,000 words of up to 256 bytes. If texts are not split into words, these
    are whole texts, which hardly come again: up to 46 MB in a server.
    """
    resize = getattr(tokenizer.model, "_resize_cache", None)
    if tokenizer.pre_tokenizer is None and resize is not None:
        resize(0)


class OriginalTokenizer:
    """A tokenizer.json, with the clean-up that tokenizer_config.json asks for."""

    def __init__(self, folder: Path) -> None:
        """Load the files. Raises SetupError if `tokenizers` is missing, ModelError if it cannot read tokenizer.json."""
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise SetupError(
                "the original's tokenizer needs the package tokenizers, which this environment lacks",
                hint="pip install tokenizers",
            ) from error
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:
            raise ModelError(f"{folder / 'tokenizer.json'} cannot be loaded: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        _keep_no_texts(self._tokenizer)
        path = folder / "tokenizer_config.json"
        config = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        vocabulary = self._tokenizer.get_vocab()
        self._bytes = {i for token, i in vocabulary.items() if _BYTE.fullmatch(token)}
        # Characters that one token stands for, at most; in byte-level vocabularies a character is a byte.
        self.longest = max(map(len, vocabulary), default=1)
        self._pieces = Pieces(self._tokenizer.decoder)
        self._cleans_up = bool(config.get("clean_up_tokenization_spaces"))

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Return ids; with `special` also those that the tokenizer adds by itself, such as BOS."""
        return [int(i) for i in self._tokenizer.encode(text, add_special_tokens=special).ids]

    def id_of(self, token: str) -> int | None:
        """Return the id of a token of the vocabulary, None for another text."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def is_byte(self, token: int) -> bool:
        """Return whether a token is one of the byte tokens of SentencePiece."""
        return token in self._bytes

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for, a space before a word included."""
        content = self._tokenizer.id_to_token(token)
        return b"" if content is None else self._pieces.bytes_of(content)

    def entries(self) -> list[bytes | None] | None:
        """Return the bytes of each id, None for special tokens, which a text lacks.

        Return None instead of the list if a text is more than these bytes one after the other.
        """
        if self._cleans_up:
            return None
        special = {i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        count = max(self._tokenizer.get_vocab().values(), default=-1) + 1
        return [None if i in special else self.token_bytes(i) for i in range(count)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of the ids, without special tokens."""
        text = str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        for old, new in CLEAN_UP if self._cleans_up else ():
            text = text.replace(old, new)
        return text
