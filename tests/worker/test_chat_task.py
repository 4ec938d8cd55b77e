"""Tasks for chat are answered in the model's template, up to the end of the answer, and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.sessions import Generation, WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.worker import chat_task

END = 0
TEMPLATE = (
    "{% for m in messages %}<{{ m.content }}>{% endfor %}{% if tools %}[{{ tools[0].name }}]{% endif %}"
)


class Echo:
    """Answers with the prompt in capitals, an end, and more."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def tokenize(self, text: str) -> list[int]:
        return [ord(one) for one in text]

    def detokenize(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def generate(self, ids: Sequence[int], count: int, on_token: Callable[[int], bool]) -> Generation:
        self.prompts.append(self.detokenize(ids))
        made = [ord(one) for one in self.prompts[-1].upper()] + [END, ord("x")]
        assert [on_token(one) for one in made].count(True) == 1
        return Generation(0.0, made[:count], [0.0] * count)

    def close(self) -> None: ...


def answered(
    tmp_path: Path, patch: pytest.MonkeyPatch, *tasks: dict[str, Any], **args: Any
) -> tuple[Any, Any, Echo]:
    echo = Echo()
    backend = type("Backend", (), {"open_session": staticmethod(lambda *_: echo)})
    patch.setattr(chat_task, "load_backend", lambda job: backend)
    for name in ("tokenizer", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text(TEMPLATE)
    (tmp_path / "tasks").write_text("\n".join(map(json.dumps, tasks)))
    told = {"settings": {}, "eos": [END], "length": 64, "context": None, **args}
    inputs = {"artifact": tmp_path, "tokenizer": tmp_path / "tokenizer", "tasks": tmp_path / "tasks"}
    facts = chat_task.answers(WorkerJob(told, inputs, tmp_path / "out", None, 1, lambda share, what: None))
    return facts, json.loads((tmp_path / "out" / "answers.json").read_text()), echo


def asked(text: str, check: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "check": check, **more}


def test_answers_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts, found, echo = answered(
        tmp_path,
        monkeypatch,
        asked("say paris", {"contains": "Paris"}),
        asked("4", {"number": 5}),
        asked("call", {"call": {"name": "t"}}, tools=[{"name": "t"}]),
    )
    assert facts == {"tasks": 3, "right": 1}
    assert found == [
        {"text": "<SAY PARIS>", "right": True, "kind": "contains"},
        {"text": "<4>", "right": False, "kind": "number"},
        {"text": "<CALL>[T]", "right": False, "kind": "call"},
    ]
    assert echo.prompts == ["<say paris>", "<4>", "<call>[t]"]


def test_a_task_beyond_the_context_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        EdgehoneError, match="task 0 has 7 tokens and its answer up to 64; the model's context is 70"
    ):
        answered(tmp_path, monkeypatch, asked("a fox", {"number": 1}), context=70)
