"""The bytes of a token, from its entry in the vocabulary of a tokenizer.json (worker side)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Pieces:
    """How the decoder of a tokenizer.json writes the entries of its vocabulary."""

    def __init__(self, decoder: Any) -> None:
        """`decoder` is the one of a `tokenizers.Tokenizer`, or None."""
        kinds = list(_kinds(json.loads(decoder.__getstate__()))) if decoder is not None else []
        names = [kind["type"] for kind in kinds]
        self._alphabet = _alphabet() if "ByteLevel" in names else None
        self._byte_tokens = "ByteFallback" in names
        self._replaced = [
            (kind["pattern"]["String"], kind["content"])
            for kind in kinds
            if kind["type"] == "Replace" and "String" in kind["pattern"]
        ]
        self._replaced += [(kind["replacement"], " ") for kind in kinds if kind["type"] == "Metaspace"]
        self._continues = next((kind["prefix"] for kind in kinds if kind["type"] == "WordPiece"), None)

    def bytes_of(self, entry: str) -> bytes:
        """Return the bytes of an entry; a special token is its own text."""
        if self._byte_tokens and (byte := _BYTE.fullmatch(entry)):
            return bytes([int(byte[1], 16)])
        if self._alphabet is not None:
            if all(character in self._alphabet for character in entry):
                return bytes(self._alphabet[character] for character in entry)
            return entry.encode()
        for old, new in self._replaced:
            entry = entry.replace(old, new)
        if self._continues is not None:
            whole = f" {entry}"
            entry = entry.removeprefix(self._continues) if entry.startswith(self._continues) else whole
        return entry.encode("utf-8", "replace")


def _kinds(decoder: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if decoder["type"] == "Sequence":
        for one in decoder["decoders"]:
            yield from _kinds(one)
    else:
        yield decoder


def _alphabet() -> dict[str, int]:
    """Return the byte of each character by which byte-level tokenizers write it (GPT-2's `bytes_to_unicode`)."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + at): byte for at, byte in enumerate(others)}
