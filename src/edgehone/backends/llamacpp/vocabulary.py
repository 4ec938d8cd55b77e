"""The tokenizer of a GGUF file: libllama loads its vocabulary without the weights."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgehone.backends.llamacpp.log import Log
from edgehone.backends.shared.ids import check_ids
from edgehone.core.errors import EdgehoneError, ModelError


def tokenize(library: Any, vocab: Any, text: str, special: bool) -> list[int]:
    """Return the ids of a text. Special tokens in it are recognised; `special` adds those that the GGUF asks for."""
    raw = text.encode()
    room = len(raw) + 16
    while True:
        ids = (library.llama_token * room)()
        count = library.llama_tokenize(vocab, raw, len(raw), ids, room, special, True)
        if count >= 0:
            return list(ids[:count])
        if -count <= room:
            raise EdgehoneError(f"llama.cpp cannot tokenize a text of {len(raw)} bytes: code {count}")
        room = -count


def detokenize(library: Any, vocab: Any, ids: Sequence[int]) -> str:
    """Return the text of the ids, without control tokens. Raises InputError for ids outside the vocabulary."""
    # llama_detokenize drops the leading space that SentencePiece adds, unless BOS comes first.
    ids = list(ids[1:]) if len(ids) and ids[0] == library.llama_vocab_bos(vocab) else list(ids)
    if not ids:
        return ""
    check_ids(ids, int(library.llama_vocab_n_tokens(vocab)))
    tokens = (library.llama_token * len(ids))(*ids)
    room = 16 * len(ids) + 16
    while True:
        buffer = ctypes.create_string_buffer(room)
        size = library.llama_detokenize(vocab, tokens, len(ids), buffer, room, False, False)
        if size >= 0:
            return buffer.raw[:size].decode("utf-8", "replace")
        room = -size


class Vocabulary:
    """The tokenizer of a GGUF file, run by libllama. It stays loaded until the process ends."""

    def __init__(self, library: Any, path: Path) -> None:
        """Load the vocabulary only. Raises ModelError with libllama's message if it cannot be read."""
        self._lib = library
        log = Log(library)
        library.llama_backend_init()
        params = library.llama_model_default_params()
        params.vocab_only = True
        self._model = library.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise ModelError(f"llama.cpp cannot read the vocabulary of {path}: {log.cause}")
        self._vocab = library.llama_model_get_vocab(self._model)
        self.vocabulary = int(library.llama_vocab_n_tokens(self._vocab))
        probe = "a"
        whole, plain = self.tokenize(probe), tokenize(library, self._vocab, probe, False)
        at = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), None)
        if not plain or at is None:
            raise ModelError(
                f"{path} tokenizes {probe!r} as {whole}, which does not contain the ids of the text"
            )
        self.bos = whole[:at]
        ends = (i for i in range(self.vocabulary) if library.llama_vocab_is_eog(self._vocab, i))
        self.eos = sorted(ends)

    def tokenize(self, text: str) -> list[int]:
        """Return ids, with the special tokens that the GGUF adds."""
        return tokenize(self._lib, self._vocab, text, True)

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of the ids, without control tokens."""
        return detokenize(self._lib, self._vocab, ids)

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token."""
        return self._piece(token)

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """Return ids without BOS, and the number of UTF-8 bytes that each covers, which sum to the text's length."""
        ids = tokenize(self._lib, self._vocab, text, False)
        return ids, spans(text.encode(), [self._piece(token) for token in ids])

    def save(self, folder: Path) -> None:
        """Write the chat template and the special tokens. There is no tokenizer.json, since libllama tokenizes."""
        lib = self._lib
        config: dict[str, Any] = {}
        for name, token in (("bos", lib.llama_vocab_bos), ("eos", lib.llama_vocab_eos)):
            if (found := int(token(self._vocab))) >= 0:
                config[f"{name}_token"] = self._piece(found).decode("utf-8", "replace")
        if template := lib.llama_model_chat_template(self._model, None):
            config["chat_template"] = template.decode("utf-8", "replace")
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), "utf-8")

    def _piece(self, token: int) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            size = self._lib.llama_token_to_piece(self._vocab, token, buffer, room, 0, True)
            if size >= 0:
                return buffer.raw[:size]
            room = -size


def spans(text: bytes, pieces: Sequence[bytes]) -> list[int]:
    """Return the number of bytes of `text` that each piece covers.

    The numbers are exact if the pieces join to the text, and otherwise proportional to the pieces' lengths. A leading
    space that the tokenizer adds covers no byte.
    """
    sizes: list[int] = [len(piece) for piece in pieces]
    whole = b"".join(pieces)
    if whole == b" " + text and sizes:
        first = next(i for i, piece in enumerate(pieces) if piece)
        sizes[first] -= 1
    elif whole != text and whole:
        total, edges, done = len(whole), [0], 0
        for size in sizes:
            done += size
            edges.append(round(len(text) * done / total))
        sizes = [end - begin for begin, end in pairwise(edges)]
    return sizes
