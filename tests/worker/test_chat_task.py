"""Tasks for chat are answered in the model's template, up to the end of the answer, and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.sessions import Generation, WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.inputs import chat_tasks
from edgehone.worker import chat_task

END = 0
TEMPLATE = "{% for m in messages %}<{{ m.content }}>{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"


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
    tmp_path: Path,
    patch: pytest.MonkeyPatch,
    *tasks: dict[str, Any],
    template: str = TEMPLATE,
    **args: Any,
) -> tuple[Any, Any, Echo]:
    echo = Echo()
    backend = type("Backend", (), {"open_session": staticmethod(lambda *_: echo)})
    patch.setattr(chat_task, "load_backend", lambda job: backend)
    for name in ("tokenizer", "out"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text(template)
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
        {"text": '<CALL>[{"NAME": "T"}]', "right": False, "kind": "call"},
    ]
    assert echo.prompts == ["<say paris>", "<4>", '<call>[{"name": "t"}]']


def test_a_task_beyond_the_context_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        EdgehoneError, match="task 0 has 7 tokens and its answer up to 64; the model's context is 70"
    ):
        answered(tmp_path, monkeypatch, asked("a fox", {"number": 1}), context=70)


def test_tools_that_the_model_is_not_told_of_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template that knows no tools leaves them out in silence; a message may describe them all the same."""
    tools = [{"type": "function", "function": {"name": "lamp"}}]
    call = {"call": {"name": "lamp"}}
    tasks = [
        asked("use lamp()", call, tools=tools),
        asked("4", {"number": 4}),
        asked("on", call, tools=tools),
    ]
    silent = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    with pytest.raises(
        EdgehoneError, match="is not told of the tool 'lamp' of task 2: its chat template writes no"
    ):
        answered(tmp_path / "a", monkeypatch, *tasks, template=silent)
    assert answered(tmp_path / "b", monkeypatch, *tasks[:2], template=silent)[0]["tasks"] == 2
    assert answered(tmp_path / "c", monkeypatch, *tasks)[0]["tasks"] == 3


def test_the_shipped_tasks_name_their_tools_in_the_message() -> None:
    """So that models whose template knows no tools are told of them."""
    some = [task for task in chat_tasks.read(chat_tasks.shipped()) if task["tools"]]
    assert len(some) == 4
    for task in some:
        names = [one["function"]["name"] for one in task["tools"]]
        assert names and all(name in task["messages"][-1]["content"] for name in names)
