"""Whether two answers agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.serve.rollout.compare import disagreement

NONE = (None, None)


def completion(*texts: str) -> bytes:
    return json.dumps({"choices": [{"index": at, "text": one} for at, one in enumerate(texts)]}).encode()


def chat(text: str) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}).encode()


def stream(*pieces: str) -> bytes:
    events = [{"choices": [{"index": 0, "delta": {"content": one}}]} for one in pieces]
    lines = [f"data: {json.dumps(one)}\n\n" for one in events]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


def compared(path: str, first: bytes, second: bytes, classes: Any = NONE, **asked: Any) -> float | None:
    return disagreement(path, json.dumps(asked).encode(), first, second, classes)


def test_texts_agree_by_their_first_word() -> None:
    path = "/v1/completions"
    assert compared(path, completion(" The cat"), completion("The  dog")) == 0
    assert compared(path, completion("The cat"), completion("A cat")) == 1
    assert compared(path, completion("a", "b"), completion("a", "c")) == 0.5
    assert compared(path, completion(""), completion("")) == 0
    assert compared("/v1/chat/completions", chat("Yes."), stream("Y", "es."), temperature=0) == 0


def test_what_is_drawn_at_random_is_not_compared() -> None:
    assert compared("/v1/completions", completion("a"), completion("b"), temperature=0.5) is None
    assert compared("/v1/chat/completions", chat("a"), chat("b")) is None
    assert compared("/v1/chat/completions", chat("a"), chat("b"), temperature=0) == 1


def test_graphs_agree_by_classes_or_numbers() -> None:
    path = "/v2/models/digits/infer"
    assert compared(path, b"", b"", ([1, 2, 3, 4], [1, 2, 3, 5])) == 0.25

    def answer(*data: float) -> bytes:
        return json.dumps({"outputs": [{"name": "y", "data": data}]}).encode()

    assert compared(path, answer(1, 2), answer(1.01, 2)) == 0
    assert compared(path, answer(1, 2), answer(1.5, 2)) == 1
    assert compared(path, answer(1, 2), answer(1)) == 1
    assert compared(path, b"\x00\x01", b"\x00\x01") is None  # binary tensors


def test_vectors_agree_by_their_direction() -> None:
    def answer(*vector: float) -> bytes:
        return json.dumps({"data": [{"embedding": vector}]}).encode()

    assert compared("/v1/embeddings", answer(1, 0), answer(2, 0.1)) == 0
    assert compared("/v1/embeddings", answer(1, 0), answer(0, 1)) == 1


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses", "/v1/embeddings", "/v2/models/x/infer"])
def test_whatever_is_answered_is_compared_or_not(
    path: str, asked: bytes, first: bytes, second: bytes
) -> None:
    found = disagreement(path, asked, first, second, NONE)
    assert found is None or 0 <= found <= 1
