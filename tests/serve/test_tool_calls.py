"""Calls of tools in the text of an answer: the same however the text is cut."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from edgehone.serve.openai.tool_calls import CallFinder

NAMES = ("weather", "time")
WEATHER = '{"name": "weather", "arguments": {"city": "Zürich"}}'
TIME = '{"name":"time","parameters":{}}'
Found = tuple[str, list[tuple[str, object]]]


def found(pieces: list[str], *, single: bool = False) -> Found:
    finder, said, calls = CallFinder(NAMES, single=single), "", list[tuple[str, object]]()
    for at, piece in enumerate(pieces):
        text, more = finder.add(piece, last=at == len(pieces) - 1)
        said += text
        calls += [(call.name, json.loads(call.arguments)) for call in more]
        if finder.done:
            break
    return said, calls


CASES: list[tuple[str, Found]] = [
    ("", ("", [])),
    ("  \n", ("  \n", [])),
    ("Hello {you}", ("Hello {you}", [])),
    (WEATHER, ("", [("weather", {"city": "Zürich"})])),
    (f" \n{TIME}\n", ("", [("time", {})])),
    (f"[{WEATHER}, {TIME}]", ("", [("weather", {"city": "Zürich"}), ("time", {})])),
    ('{"type": "function", "function": {"name": "time", "arguments": "{}"}}', ("", [("time", {})])),
    (f"<tool_call>\n{WEATHER}\n</tool_call>", ("", [("weather", {"city": "Zürich"})])),
    (
        f"I look.\n<tool_call>{WEATHER}</tool_call>\n<tool_call>{TIME}</tool_call>\n",
        ("I look.\n", [("weather", {"city": "Zürich"}), ("time", {})]),
    ),
    (f"<tool_call>{TIME}", ("", [("time", {})])),
    (f"<tool_call>{TIME}</tool_call> Done.", (" Done.", [("time", {})])),
    ("<tool_call>{broken</tool_call> after", ("<tool_call>{broken</tool_call> after", [])),
    ('<tool_call>{"name": "other"}</tool_call>', ('<tool_call>{"name": "other"}</tool_call>', [])),
    ('{"name": "other", "arguments": {}}', ('{"name": "other", "arguments": {}}', [])),
    ('{"name": "time", "arguments": 3}', ('{"name": "time", "arguments": 3}', [])),
    ('{"answer": 42}', ('{"answer": 42}', [])),
    (f"[{WEATHER}, 3]", (f"[{WEATHER}, 3]", [])),
    ("[1, 2]", ("[1, 2]", [])),
    ("a <tool_cal", ("a <tool_cal", [])),
    (" <tool_", (" <tool_", [])),
    ("<tool_call>" + "[" * 100_000, ("<tool_call>" + "[" * 100_000, [])),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_calls_of_an_answer(text: str, expected: Found) -> None:
    assert found([text]) == expected


@given(some.sampled_from([text for text, _ in CASES[:-1]]), some.lists(some.integers(0, 120), max_size=12))
def test_it_does_not_matter_where_an_answer_is_cut(text: str, places: list[int]) -> None:
    cuts = sorted({0, *(place for place in places if place < len(text)), len(text)})
    pieces = [text[begin:end] for begin, end in itertools.pairwise(cuts)] or [""]
    assert found(pieces) == found([text])
    assert found([*pieces, ""]) == found([text])
    assert found(list(text) or [""]) == found([text])


PARTS = ["<tool_call>", "</tool_call>", WEATHER, TIME, "{", "[", '"name"', " ", "\n", "a", "<", "tool_call>"]


@given(some.lists(some.sampled_from(PARTS), max_size=8))
@example([" ", "<tool_call>"])
@example(["<tool_call>", "{", "</tool_call>", "<tool_call>", TIME, "</tool_call>"])
@settings(max_examples=300)
def test_any_answer(parts: list[str]) -> None:
    text = "".join(parts)
    said, calls = found([text])
    assert found(list(text) or [""]) == (said, calls)
    if not calls:
        assert said == text


def test_only_the_first_call_is_wanted() -> None:
    assert found([f"<tool_call>{TIME}</tool_call><tool_call>{WEATHER}</tool_call>"], single=True) == (
        "",
        [("time", {})],
    )
    assert found([f"[{TIME}, {WEATHER}]"], single=True) == ("", [("time", {})])
