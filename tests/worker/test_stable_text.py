"""Streaming: each character once, and the pieces together equal to decoding the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from edgehone.worker import stable_text
from edgehone.worker.original_tokenizer import CLEAN_UP
from edgehone.worker.stable_text import StableText

# Pieces that clean-up joins, in whole and in parts, ordinary words, and the single bytes of characters of 2 to 4 bytes.
WORDS = [
    " ",
    "  ",
    ".",
    " .",
    " ?",
    "!",
    ",",
    " ,",
    "'",
    " '",
    " ' ",
    "n",
    "'t",
    " n",
    "n't",
    " n't",
    "'m",
    " 's",
    "s",
]
WORDS += ["'ve", " 've", "re", " '", "a", " word", "né", "\n", " no", "\ufffd", ""]
BYTES = [*sorted(set("é€😀ü".encode())), 255, 65]
TOKENS: list[str | int] = [*WORDS, *BYTES]


def clean(text: str) -> str:
    for old, new in CLEAN_UP:
        text = text.replace(old, new)
    return text


def byte_level(ids: Sequence[int]) -> str:
    """All bytes are decoded together, as byte-level tokenizers and libllama do."""
    parts = [one.encode() if isinstance(one := TOKENS[i], str) else bytes([one]) for i in ids]
    return b"".join(parts).decode("utf-8", "replace")


def byte_fallback(ids: Sequence[int]) -> str:
    """Each run of byte tokens is decoded by itself, or is one U+FFFD a byte if it is not UTF-8 (tokenizers)."""
    text, run = "", b""
    for i in [*ids, TOKENS.index("")]:
        one = TOKENS[i]
        if isinstance(one, int):
            run += bytes([one])
            continue
        try:
            text += run.decode()
        except UnicodeDecodeError:
            text += "\ufffd" * len(run)
        text, run = text + one, b""
    return text


def is_byte(token: int) -> bool:
    return isinstance(TOKENS[token], int)


def streamed(stream: StableText, ids: Sequence[int]) -> str:
    return "".join([*map(stream.add, ids), stream.finish()])


ANY = some.lists(some.integers(0, len(TOKENS) - 1), max_size=40)


@pytest.fixture(params=[(32, 128), (8, 12)], autouse=True, scope="module")
def _window(request: pytest.FixtureRequest) -> Iterator[None]:
    """Also with a window so small that texts of these lengths are cut many times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stable_text, "_CONTEXT", request.param[0])
        patch.setattr(stable_text, "_WINDOW", request.param[1])
        yield


@given(ANY)
def test_bytes_that_are_decoded_together(ids: list[int]) -> None:
    assert streamed(StableText(byte_level), ids) == byte_level(ids)


@given(ANY)
def test_bytes_that_are_decoded_run_by_run(ids: list[int]) -> None:
    assert streamed(StableText(byte_fallback, is_byte), ids) == byte_fallback(ids)


@given(ANY)
@example([WORDS.index(" ' "), WORDS.index(".")])  # " ' ." is not cleaned up to "'."
@settings(max_examples=400)
def test_text_that_is_cleaned_up(ids: list[int]) -> None:
    for decode in (byte_level, byte_fallback):
        bytes_of = is_byte if decode is byte_fallback else lambda token: False

        def cleaned(ids: Sequence[int], decode: object = decode) -> str:
            return clean(decode(ids))  # type: ignore[operator]

        assert streamed(StableText(cleaned, bytes_of), ids) == cleaned(ids)


def test_words_are_printed_at_once_and_only_what_may_change_is_held_back() -> None:
    stream = StableText(lambda ids: clean(byte_level(ids)))
    token = TOKENS.index
    assert stream.add(token(" word")) == " word"
    assert stream.add(token(" ")) == ""
    assert stream.add(token(".")) == "."
    assert stream.add(token(" '")) == ""
    assert stream.add(token("s")) == "'s"
    assert stream.add(token(" n")) == ""
    assert stream.add(token("né")) == " nné"
    assert stream.add(token(" no")) == " no"


def spaced(ids: Sequence[int]) -> str:
    """The first space is stripped, as by the decoder of Llama's tokenizer."""
    return byte_fallback(ids).removeprefix(" ")


@given(some.lists(some.integers(0, len(TOKENS) - 1), max_size=300))
@example([WORDS.index(" word"), *[WORDS.index("")] * 60, WORDS.index(" word")])
@example([WORDS.index(" ")] * 200 + [WORDS.index("a")])
@example([WORDS.index(" '")] * 100 + [WORDS.index(" ' ")] * 90 + [WORDS.index(".")])
@example([WORDS.index(" .")] * 200)
@example([TOKENS.index(0xE2), TOKENS.index(0x82), TOKENS.index(0xAC)] * 70)
@settings(max_examples=150)
def test_long_texts(ids: list[int]) -> None:
    for decode in (byte_level, byte_fallback, spaced, lambda ids: clean(byte_level(ids))):
        bytes_of = is_byte if decode in (byte_fallback, spaced) else lambda token: False
        assert streamed(StableText(decode, bytes_of), ids) == decode(ids)


@pytest.mark.parametrize("word", [" word", ".", " ,", "\n", "a"])
def test_a_long_text_is_not_decoded_again_as_a_whole_for_each_token(word: str) -> None:
    decoded = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal decoded
        decoded += len(ids)
        return clean(byte_level(ids))

    ids = [WORDS.index(word)] * 5000
    assert streamed(StableText(decode), ids) == clean(byte_level(ids))
    assert decoded < 5000 * 4 * 128
