"""Tasks for chat: which lines are taken, and which answers pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.core.errors import TextError
from edgehone.inputs import chat_tasks
from edgehone.worker.answer_checks import accepts, passes

ASKED = [{"role": "user", "content": "2 + 2?"}]
PERSON = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "additionalProperties": False,
}


def written(path: Path, *lines: Any) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_the_shipped_tasks_are_taken() -> None:
    tasks = chat_tasks.read(chat_tasks.shipped())
    assert len(tasks) >= 30
    assert {kind for one in tasks for kind in one["check"]} == set(chat_tasks.KINDS)
    assert chat_tasks.are_in(chat_tasks.shipped())


def test_repeating_the_question_is_no_right_answer() -> None:
    for one in chat_tasks.read(chat_tasks.shipped()):
        assert not passes(one["check"], one["messages"][-1]["content"]), one["messages"]


@pytest.mark.parametrize(
    ("begin", "right", "wrong"),
    [
        ("Which planet", ["Earth", "On the planet **Earth**."], ["Kepler-41b, a super-Earth.", "Mars. Earth is"]),
        ("Write the word", ["LANTERN", "The word is LANTERN."], ["Lantern", "lantern: LANGUELL"]),
        ("Which word comes", ["apple", "The first is 'apple'."], ['The answer is "cherry"']),
        ("List three", ["pear, plum, fig", "Pear, plum and fig", "Pear, fig, and nut"], ["pear, fig", "* Pear\n* Fig"]),
    ],
)  # fmt: skip
def test_the_shipped_checks_of_texts(begin: str, right: list[str], wrong: list[str]) -> None:
    """The wrong ones are what a model of 135 million parameters says, or nearly so."""
    tasks = chat_tasks.read(chat_tasks.shipped())
    [check] = [one["check"] for one in tasks if one["messages"][-1]["content"].startswith(begin)]
    assert [passes(check, one) for one in (*right, *wrong)] == [True] * len(right) + [False] * len(wrong)


def test_multiple_choice_is_another_kind_of_task(tmp_path: Path) -> None:
    assert not chat_tasks.are_in(
        written(tmp_path / "a", {"prompt": "2 +", "choices": ["a", "b"], "answer": 0})
    )
    for text in ("", "[]", "no json", '"messages"'):
        assert not chat_tasks.are_in(written(tmp_path / "b", text))
    assert not chat_tasks.are_in(tmp_path / "missing")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "Expecting"),
        ([], "not an object"),
        ({"messages": [], "check": {"number": 4}}, "messages is not a list"),
        ({"messages": [{"role": "robot", "content": ""}], "check": {"number": 4}}, "messages is not a list"),
        (
            {"messages": [*ASKED, {"role": "assistant", "content": "4"}], "check": {"number": 4}},
            "not the user's",
        ),
        ({"messages": ASKED}, "check is null"),
        ({"messages": ASKED, "check": {"number": 4, "contains": "4"}}, "not one of"),
        ({"messages": ASKED, "check": {"equals": "4"}}, "not one of"),
        ({"messages": ASKED, "check": {"number": "4"}}, "number is '4'"),
        ({"messages": ASKED, "check": {"number": True}}, "number is 'True'"),
        ({"messages": ASKED, "check": {"contains": []}}, "contains is '[]'"),
        ({"messages": ASKED, "check": {"matches": "("}}, "unterminated"),
        ({"messages": ASKED, "check": {"call": {}}}, "call has no name"),
        ({"messages": ASKED, "check": {"json": {"oneOf": []}}}, "'oneOf'"),
        ({"messages": ASKED, "check": {"json": {"type": "text"}}}, "'text'"),
        ({"messages": ASKED, "check": {"json": {"items": {"pattern": "a"}}}}, "'pattern'"),
        ({"messages": ASKED, "check": {"number": 4}, "weight": 2}, "'weight'"),
        ({"messages": ASKED, "check": {"number": 4}, "tools": [3]}, "tools is not"),
    ],
)
def test_a_line_that_is_no_task_is_named(tmp_path: Path, line: Any, why: str) -> None:
    good = {"messages": ASKED, "check": {"number": 4}}
    with pytest.raises(TextError, match="line 2") as caught:
        chat_tasks.read(written(tmp_path / "tasks", good, line))
    assert why in caught.value.message
    assert caught.value.hint


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="is empty"):
        chat_tasks.read(written(tmp_path / "tasks", ""))


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ({"contains": "Paris"}, ["It is PARIS."], ["London", ""]),
        ({"contains": ["colour", "color"]}, ["a Color"], ["a hue"]),
        ({"matches": r"^\W*yes\b"}, ["Yes.", ' "yes"'], ["no, yes", "yesterday"]),
        ({"number": 1200}, ["12 of 100 is 1,200", "1200.0"], ["1200 is less than 1300", "none"]),
        ({"number": -3}, ["-3"], ["3"]),
        ({"json": {"type": "array"}}, ["[1]", "```json\n[1]\n```"], ["a list: [1]", "[1", "{}"]),
        ({"json": PERSON}, ['{"name": "a", "age": 3}'], ['{"age": 3}', '{"name": "a", "age": 200}', '{"name": 1}',
                                                         '{"name": "a", "size": 1}', '{"name": "a", "age": true}']),
        (
            {"call": {"name": "add", "arguments": {"required": ["a"]}}},
            ['<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', '{"function": {"name": "add", '
             '"arguments": "{\\"a\\": 1}"}}', '{"name": "add", "parameters": {"a": 1}}'],
            ['{"name": "sub", "arguments": {"a": 1}}', '{"name": "add", "arguments": {}}', "add(1)", "{{{", '{"name": '
             '"add", "arguments": "{"}'],
        ),
    ],
)  # fmt: skip
def test_answers_that_pass(check: dict[str, Any], right: list[str], wrong: list[str]) -> None:
    assert all(passes(check, one) for one in right)
    assert not any(passes(check, one) for one in wrong)


@given(some.text(), some.sampled_from(chat_tasks.read(chat_tasks.shipped())))
def test_no_answer_is_an_error(answer: str, task: dict[str, Any]) -> None:
    assert passes(task["check"], answer) in (True, False)


@given(some.recursive(some.none() | some.booleans() | some.integers() | some.text(), some.lists))
def test_an_empty_schema_takes_everything(value: Any) -> None:
    assert accepts({}, value)
    assert accepts({"enum": [value]}, value)
