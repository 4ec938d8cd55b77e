"""The original's tokenizer in transformers: ids, and the bytes of the text that each covers (worker side)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.pytorch.weights import cause, source
from edgehone.core.errors import ModelError


class Tokenizer:
    """The original's tokenizer: a `Tokenizer` of `edgehone.backends.sessions`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizer = load_tokenizer(folder)
        self.vocabulary = len(self._tokenizer)
        probe = "a"
        with_bos, without = self.tokenize(probe), self._plain(probe)
        at = next((i for i in range(len(with_bos)) if with_bos[i : i + len(without)] == without), None)
        if not without or at is None:
            raise ModelError(
                f"{source(folder)} tokenizes {probe!r} as {with_bos}, which does not contain the ids of the text"
            )
        self.bos = with_bos[:at]
        self.eos = end_ids(folder, self._tokenizer.eos_token_id)

    def tokenize(self, text: str) -> list[int]:
        """Return ids, with the special tokens that the tokenizer adds by default."""
        return [int(i) for i in self._tokenizer(text, verbose=False).input_ids]

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """Return ids without BOS, and the number of UTF-8 bytes that each covers, which sum to the text's length.

        If several ids make up one character, the first one covers its bytes. For tokenizers without offsets, the sizes
        are proportional to the length of each id's text.
        """
        if not self._tokenizer.is_fast:
            ids = self._plain(text)
            sizes = [len(self._tokenizer.decode([i]).encode()) for i in ids]
            return ids, scaled(sizes, len(text.encode()))
        found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [int(i) for i in found.input_ids], sizes_of(text, [end for _, end in found.offset_mapping])

    def save(self, folder: Path) -> None:
        """Write the files that `edgehone run` tokenizes with, as transformers has converted them.

        There is no tokenizer.json for the few tokenizers that transformers runs in Python.
        """
        self._tokenizer.save_pretrained(folder)
        path = folder / "tokenizer_config.json"
        clean_up = bool(getattr(self._tokenizer, "clean_up_tokenization_spaces", False))
        config = {**json.loads(path.read_text("utf-8")), "clean_up_tokenization_spaces": clean_up}
        path.write_text(json.dumps(config, indent=1), "utf-8")
        for name in ("chat_template.json", "generation_config.json"):
            if (self._folder / name).is_file():
                shutil.copyfile(self._folder / name, folder / name)

    def _plain(self, text: str) -> list[int]:
        return [int(i) for i in self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids]


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer in a folder. Raises ModelError, with the cause, if that fails."""
    from transformers import AutoTokenizer

    hint = "put tokenizer.json or tokenizer.model, and tokenizer_config.json, into the folder of config.json"
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ModelError(
            f"the tokenizer of {source(folder)} cannot be loaded: {cause(error, folder)}", hint=hint
        ) from error
    # Without a vocabulary file, transformers creates a tokenizer that only has special tokens.
    if len(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)) < 2:
        raise ModelError(f"the tokenizer of {source(folder)} has no vocabulary", hint=hint)
    return tokenizer


def end_ids(folder: Path, known: int | None) -> list[int]:
    """Return the ids that end a text: the tokenizer's and those of config.json and generation_config.json."""
    ends = set() if known is None else {known}
    for name in ("config.json", "generation_config.json"):
        if (folder / name).is_file():
            value = json.loads((folder / name).read_text("utf-8")).get("eos_token_id")
            ends |= {int(i) for i in (value if isinstance(value, list) else [value]) if i is not None}
    return sorted(ends)


def sizes_of(text: str, ends: Sequence[int]) -> list[int]:
    """Return the UTF-8 bytes that each id covers, given the character where each ends. Gaps belong to the next id."""
    import numpy as np

    characters = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    widths = 1 + (characters > 0x7F).astype(np.int64) + (characters > 0x7FF) + (characters > 0xFFFF)
    offsets = np.concatenate([[0], np.cumsum(widths)])
    edges = np.maximum.accumulate(offsets[np.asarray(ends, np.int64)]) if ends else np.zeros(0, np.int64)
    if ends:
        edges[-1] = offsets[-1]
    return [int(size) for size in np.diff(edges, prepend=0)]


def scaled(sizes: Sequence[int], total: int) -> list[int]:
    """Return sizes in the same proportions that sum to `total`."""
    import numpy as np

    edges = np.cumsum(sizes, dtype=np.float64)
    edges = np.round(edges * (total / max(edges[-1], 1.0))) if len(edges) else edges
    return [int(size) for size in np.diff(edges, prepend=0)]
