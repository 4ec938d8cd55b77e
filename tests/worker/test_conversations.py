"""Conversations are answered once by the original, and scored on the tokens of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.sessions import Generation, WorkerJob
from edgehone.core.errors import EdgehoneError, ModelError
from edgehone.worker import conversations, long_chats, windows

END = 0
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


class Speaker:
    """Answers the n-th conversation with n times the id 7, then the end of the text; texts have two bytes an id."""

    def __init__(self) -> None:
        self.prompts: list[list[int]] = []

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        self.prompts.append(list(ids))
        answer = [7] * min(count, len(self.prompts) - 1)
        whole = [*answer, END][:count]
        assert on_token is not None and [on_token(one) for one in whole].count(True) <= 1
        return Generation(0.0, whole, [0.0] * len(whole))

    def detokenize(self, ids: Sequence[int]) -> str:
        return "é" * sum(one != END for one in ids)

    def close(self) -> None: ...


@pytest.fixture
def answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Answer conversations with these prompts and answers; return the facts, the job's folder and the speaker."""

    def call(given: list[tuple[list[int], list[int]]], **args: Any) -> tuple[dict[str, Any], Path, Speaker]:
        speaker = Speaker()
        opens = {"open_session": lambda *_: speaker, "open_tokenizer": lambda *_: Letters()}
        backend = type("Backend", (), {name: staticmethod(one) for name, one in opens.items()})
        monkeypatch.setattr(conversations, "load_backend", lambda job: backend)
        prepared, out = tmp_path / "prepared", tmp_path / "out"
        (prepared / "calibration").mkdir(parents=True)
        out.mkdir()
        asked = [{"role": "user", "content": "a question"}]
        stated = [{"prompt": prompt, "answer": answer, "messages": asked} for prompt, answer in given]
        (prepared / conversations.FILE).write_text(json.dumps(stated))
        (prepared / "calibration" / "ids.json").write_text("[1, 2]")
        (prepared / "calibration" / "bos.json").write_text("[9]")
        (prepared / "calibration" / "calibration.txt").write_text("text")
        (prepared / "evaluation.json").write_text('{"ids": [4, 4, 4]}')
        (prepared / "tokenizer").mkdir()
        (prepared / "tokenizer" / "chat_template.jinja").write_text(TEMPLATE)
        told = {"settings": {}, "eos": [END], "count": 100, "length": 6, "context": None, "whole": 60, **args}
        inputs = {"artifact": tmp_path, "model": tmp_path, "prepared": prepared}
        job = WorkerJob(told, inputs, out, None, 1, lambda share, what: None)
        return conversations.answers(job), out, speaker

    return call


def test_answers_end_where_the_text_does(answered: Callable[..., Any], tmp_path: Path) -> None:
    facts, out, speaker = answered([([5, at], []) for at in range(20)])
    # The first answer is empty; every fifth conversation is for calibration.
    assert facts == {"scored": 15, "calibration": 4, "tokens": facts["tokens"], "left_out": 1}
    scored = json.loads((out / conversations.FILE).read_text())
    assert scored[0] == {"ids": [5, 1, 7, END], "start": 2, "bytes": [2, 0]}
    assert scored[-1]["ids"] == [5, 18, *[7] * 6] and len(speaker.prompts) == 20
    assert facts["tokens"] == sum(len(one["bytes"]) for one in scored)
    ids = json.loads((out / "calibration" / "ids.json").read_text())
    assert ids[:7] == [5, 4, 7, 7, 7, 7, END] and ids[-2:] == [1, 2]
    assert (out / "calibration" / "calibration.txt").read_text().endswith("\n\ntext")

    job = WorkerJob({}, {"conversations": out}, tmp_path, None, 1, lambda share, what: None)
    found = windows.read(job)
    assert sum(len(one.bytes) for one in found.each) == facts["tokens"] and len(found.each) == 15
    first = found.each[0]
    assert list(first.targets) == [7, END] and list(first.scored) == [1, 2]
    # Three chats of five conversations each follow: positions before answers are scored, and no other.
    assert len(found.long) == 3 and {len(one.ids) for one in found.long} == {60}
    assert {int(one) for chat in found.long for one in chat.targets} == {7}
    assert found.tokens == facts["tokens"] + sum(len(one.scored) for one in found.long)
    assert not found.head(2).long and len(found.head(2).all) == 2


def test_given_answers_are_taken_and_long_conversations_left_out(answered: Callable[..., Any]) -> None:
    given = [([5] * (3 if at % 2 else 30), [8, 8, 8]) for at in range(40)]
    facts, out, speaker = answered(given, context=20, count=12)
    assert not speaker.prompts and facts["scored"] == 12 and facts["left_out"] > 10
    assert len(json.loads((out / long_chats.FILE).read_text())["chats"]) == 3
    assert json.loads((out / conversations.FILE).read_text())[0]["ids"] == [5, 5, 5, 8, 8, 8]


def test_conversations_that_cover_the_context_are_not_joined(answered: Callable[..., Any]) -> None:
    _, out, _ = answered([([5] * (2 + at % 7), [8] * 6) for at in range(40)], whole=12)
    assert json.loads((out / long_chats.FILE).read_text()) == long_chats.none(12)


def test_too_few_answers_are_an_error(answered: Callable[..., Any]) -> None:
    with pytest.raises(EdgehoneError, match="answers 0 of 12 conversations; 12 are too long"):
        answered([([5] * 30, []) for _ in range(12)], context=20)


class Letters:
    def encode(self, text: str) -> tuple[list[int], list[int]]:
        return [ord(one) for one in text], [1] * len(text)


def test_prompts_are_what_the_template_writes(tmp_path: Path) -> None:
    lines = [{"messages": [{"role": "user", "content": f"q{at}"}]} for at in range(10)]
    lines.append({"messages": [*lines[0]["messages"], {"role": "assistant", "content": "yes"}]})
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    tokenizer: Any = Letters()
    with pytest.raises(ModelError, match="has no chat template"):
        conversations.tokenized(tokenizer, tmp_path, tmp_path / "c.jsonl")
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    found = conversations.tokenized(tokenizer, tmp_path, tmp_path / "c.jsonl")
    assert "".join(map(chr, found[1]["prompt"])) == "<user>q1<a>" and found[1]["answer"] == []
    assert "".join(map(chr, found[10]["prompt"])) == "<user>q0<a>"
    assert "".join(map(chr, found[10]["answer"])) == "yes"


def test_windows_of_another_text_have_another_digest() -> None:
    def of(ids: list[int]) -> windows.Windows:
        return windows.Windows([windows.Window(np.array(ids), np.arange(2), np.ones(2, np.int64))], ())

    assert of([1, 2, 3]).digest != of([1, 2, 4]).digest
    assert of([1, 2, 3]).head(1).digest == of([1, 2, 3]).digest
