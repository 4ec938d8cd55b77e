"""The bytes of tokens, by the decoders of the common kinds of tokenizer.json, and log-probabilities with them."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from edgehone.backends.serving import Produced, TokenLogprobs
from edgehone.worker.answer_text import AnswerText
from edgehone.worker.stable_text import StableText
from edgehone.worker.token_pieces import Pieces

# As `tokenizers` states them.
LLAMA = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


class Decoder:
    """What `tokenizers.Tokenizer.decoder` tells of itself."""

    def __init__(self, stated: dict[str, Any]) -> None:
        self._stated = stated

    def __getstate__(self) -> bytes:
        return json.dumps(self._stated).encode()


def joined(decoder: dict[str, Any] | None, *entries: str) -> bytes:
    pieces = Pieces(Decoder(decoder) if decoder else None)
    return b"".join(map(pieces.bytes_of, entries))


def test_byte_fallback() -> None:
    assert joined(LLAMA, "▁The", "<0xE2>", "<0x82>", "<0xAC>", "▁", "é", "<s>").decode() == " The€ é<s>"


def test_byte_level() -> None:
    assert joined(BYTE_LEVEL, "The", "Ġpeople", "Ċ", "Ã©", "ðŁĺ", "Ģ", "<|end|>").decode() == (
        "The people\né😀<|end|>"
    )
    every = Pieces(Decoder(BYTE_LEVEL))
    alphabet = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in alphabet]
    letters = [chr(byte) for byte in alphabet] + [chr(256 + at) for at in range(len(others))]
    assert sorted(b"".join(map(every.bytes_of, letters))) == list(range(256))


def test_metaspace_word_pieces_and_none() -> None:
    metaspace = {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": True}
    assert joined(metaspace, "_The", "_end") == b" The end"
    assert joined({"type": "WordPiece", "prefix": "##", "cleanup": True}, "the", "##y") == b" they"
    assert joined(None, "a b") == b"a b"


def streamed(text: str, stops: list[str], together: int = 1) -> tuple[str, list[str]]:
    """Return the text and the tokens of the log-probabilities of a stream of single bytes, so many at a time."""
    answer = AnswerText(
        StableText(lambda ids: bytes(ids).decode("utf-8", "replace")), stops, lambda token: bytes([token])
    )
    found, tokens = "", list[str]()
    data = text.encode()
    for at in range(0, len(data), together):
        some = data[at : at + together]
        reason: Literal["length"] | None = "length" if at + together >= len(data) else None
        piece = answer.add(
            [Produced(1, list(some), reason, None, [TokenLogprobs(byte, -0.5) for byte in some])]
        )
        tokens += [one["token"] for one in piece.logprobs]
        found += piece.text
        if piece.reason == "stop":
            break
    return found, tokens


def test_logprobs_of_a_text() -> None:
    assert streamed("né", []) == ("né", ["n", "\\xc3", "\\xa9"])


@pytest.mark.parametrize("together", range(1, 8))
def test_logprobs_end_before_a_stop_string(together: int) -> None:
    assert streamed("one, two", ["two"], together) == ("one, ", list("one, "))
    assert streamed("one, two, three", ["two"], together) == ("one, ", list("one, "))
    assert streamed("one, tw", ["two"], together) == ("one, tw", list("one, tw"))
    assert streamed("one, twin, two", ["two"], together) == ("one, twin, ", list("one, twin, "))
