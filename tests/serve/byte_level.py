"""A copy of the demo model whose tokenizer is of the byte-level kind: each byte has a token, and a space is one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edgehone.worker.token_pieces import _alphabet

_LETTERS = {byte: letter for letter, byte in _alphabet().items()}


def byte_level(model: Path, out: Path) -> Path:
    """Write the copy to `out` and return it. Ids stand for the same texts, but for the byte tokens of letters."""
    shutil.copytree(model, out)
    (out / "tokenizer.model").unlink()
    path = out / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    own = tokenizer["model"]
    control = {one["content"] for one in tokenizer["added_tokens"]}
    words = {
        _spelled(entry): token
        for entry, token in own["vocab"].items()
        if entry not in control and not entry.startswith("<0x")
    }
    vocabulary = {}
    for entry, token in own["vocab"].items():
        if entry.startswith("<0x"):
            letter = _LETTERS[int(entry[3:5], 16)]
            # A second token for a letter has a name that no text has.
            vocabulary[letter if letter not in words else 2 * _LETTERS[0] + letter] = token
        elif entry in control:
            vocabulary[entry] = token
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    tokenizer |= {"normalizer": None, "pre_tokenizer": level, "decoder": level}
    tokenizer["model"] = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": dict(sorted((vocabulary | words).items(), key=lambda item: item[1])),
        "merges": [[_spelled(one), _spelled(other)] for one, other in own["merges"]],
    }  # fmt: skip
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
    return out


def _spelled(entry: str) -> str:
    return "".join(_LETTERS[byte] for byte in entry.replace("▁", " ").encode())
