"""Generating on a fake session: what is written, when, and when it ends."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.sessions import Generation, WorkerJob
from edgehone.core.errors import InputError
from edgehone.worker.generate import generate


class Bytes:
    """A session whose tokens are bytes and whose answer is fixed."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def detokenize(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")

    def generate(self, ids: Sequence[int], count: int, on_token: Callable[[int], bool]) -> Generation:
        generated: list[int] = []
        for token in self.answer[:count]:
            generated.append(token)
            if on_token(token):
                break
        return Generation(0.0, generated, [0.5 * (index + 1) for index in range(len(generated))])

    def close(self) -> None:
        pass


def answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reply: bytes, **args: Any) -> dict[str, Any]:
    module = types.ModuleType("bytes_backend")
    module.open_session = lambda artifact, settings, job: Bytes(reply)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bytes_backend", module)
    job_args = {
        "backend": "bytes_backend",
        "settings": {},
        "prompt": "hi",
        "max_tokens": 99,
        "eos": [],
        **args,
    }
    return generate(
        WorkerJob(job_args, {"artifact": tmp_path}, tmp_path, None, 1, lambda fraction, what: None)
    )


def test_the_answer_is_written_and_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = answer(monkeypatch, tmp_path, b"abc", max_tokens=2)
    assert capsys.readouterr().out == "ab\n"
    assert facts == {
        "text": "ab",
        "prompt_tokens": 2,
        "tokens": 2,
        "ended": False,
        "context_limited": False,
        "template": False,
        "tokenizer": "runtime",
        "ttft_s": 0.5,
        "decode_tokens_per_s": pytest.approx(2.0),
    }


def test_an_end_of_text_token_stops_and_is_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = answer(monkeypatch, tmp_path, b"ab\0cd", eos=[0])
    assert capsys.readouterr().out == "ab\n"
    assert facts["tokens"] == 2 and facts["ended"]


def test_what_a_runtime_generates_after_the_end_is_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Late(Bytes):
        def generate(self, ids: Sequence[int], count: int, on_token: Callable[[int], bool]) -> Generation:
            for token in self.answer:
                on_token(token)
            return Generation(0.0, list(self.answer), [0.5])

    monkeypatch.setitem(globals(), "Bytes", Late)
    assert answer(monkeypatch, tmp_path, b"ab\0c", eos=[5, 0])["text"] == "ab"
    assert capsys.readouterr().out == "ab\n"


def test_the_context_limits_the_answer_and_the_prompt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    facts = answer(monkeypatch, tmp_path, b"abcdef", context=5)
    assert facts["text"] == "abc" and facts["context_limited"]
    with pytest.raises(InputError, match="the prompt has 2 tokens; the model's context is 2"):
        answer(monkeypatch, tmp_path, b"a", context=2)


def test_sampling_without_a_sampler_is_invalid_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="likeliest token only"):
        answer(monkeypatch, tmp_path, b"a", sampling={"temperature": 0.5})


def test_a_character_is_written_once_its_last_byte_is_generated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = answer(monkeypatch, tmp_path, "né 😀!".encode())
    assert capsys.readouterr().out == "né 😀!\n"
    assert facts["text"] == "né 😀!"


def test_an_empty_answer_has_no_rate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    facts = answer(monkeypatch, tmp_path, b"\0", eos=[0])
    assert facts["tokens"] == 0 and facts["text"] == "" and facts["decode_tokens_per_s"] is None


def test_a_prompt_without_a_token_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no token"):
        answer(monkeypatch, tmp_path, b"a", prompt="")
