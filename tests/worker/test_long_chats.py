"""Conversations become chats of the whole context, in which the original's own answers are scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.worker import long_chats
from edgehone.worker.long_chats import PARTS, Answered

END = 3
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% if m.role == 'assistant' %}\x03{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


class Letters:
    """The ids are the characters' numbers."""

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        return [ord(one) for one in text], [1] * len(text)


def conversation(number: int, answer: str | None = None, *, end: int | None = END) -> Answered:
    answer = answer or f"answer {number}."
    # Ids of their own, which the tokenizer would not make of the answer's text.
    ids = [1000 + number] * len(answer)
    return Answered([{"role": "user", "content": f"question {number}?"}], ids, answer, [1] * len(ids), end)


def made(
    place: Path, turns: Sequence[Answered], context: int, template: str = TEMPLATE, text: str = "word " * 2000
) -> dict[str, Any]:
    (place / "chat_template.jinja").write_text(template)
    tokenizer: Any = Letters()
    return long_chats.made(turns, context, tokenizer, place, lambda begin, end: text[begin:end])


def told(chat: dict[str, Any]) -> str:
    """Return the text of a chat, with # for each id of an answer."""
    return "".join("#" if one >= 1000 else chr(one) for one in chat["ids"])


def test_answers_keep_their_ids_and_stand_where_the_template_writes_them(tmp_path: Path) -> None:
    found = made(tmp_path, [conversation(at) for at in range(16)], 130)
    assert (len(found["chats"]), found["filled"], found["reason"]) == (4, False, None)
    one = found["chats"][0]
    begin = "<user>question 0?<assistant>" + "#" * 9 + "\x03<user>question 4?<assistant>" + "#" * 9
    assert told(one).startswith(begin) and len(one["ids"]) == 130
    # The id that ends an answer is scored, too.
    scored = [one["ids"][at] for at in one["answered"]]
    assert scored == [*[1000] * 9, END, *[1004] * 9, END, *[1008] * 9, END] and len(one["bytes"]) == 30
    # Each conversation is in one chat only.
    numbers = [{one for one in chat["ids"] if one >= 1000} for chat in found["chats"]]
    assert [len(a & b) for a in numbers for b in numbers if a is not b] == [0] * 12


@pytest.mark.parametrize("context", [600, 1000, 2304])
def test_passages_fill_the_context_so_that_each_part_has_answers(tmp_path: Path, context: int) -> None:
    found = made(tmp_path, [conversation(at, end=None) for at in range(24)], context, text="ab " * 5000)
    assert found["filled"] and len(found["chats"]) == 4
    for chat in found["chats"]:
        assert context - 40 < len(chat["ids"]) <= context
        counts, _ = np.histogram(chat["answered"], PARTS, (0, context))
        assert counts.min() >= 9
    assert told(found["chats"][1]).count("question") == 6


def test_a_text_that_does_not_suffice_fills_what_it_can(tmp_path: Path) -> None:
    found = made(tmp_path, [conversation(at) for at in range(24)], 2000, text="short")
    assert [len(chat["ids"]) < 400 for chat in found["chats"]] == [True] * 4


def test_only_the_first_conversation_instructs(tmp_path: Path) -> None:
    told_by = [{"role": "system", "content": "Be brief."}]
    turns = [conversation(at) for at in range(8)]
    turns = [Answered([*told_by, *one.messages], one.ids, one.text, one.bytes, END) for one in turns]
    found = made(tmp_path, turns, 120)
    assert [told(chat).count("Be brief.") for chat in found["chats"]] == [1, 1]


def test_spaces_that_only_a_later_prompt_has_are_not_in_the_chat(tmp_path: Path) -> None:
    """The prompt ends "assistant:", and an earlier answer is written after "assistant: "."""
    spaced = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    found = made(tmp_path, [conversation(at) for at in range(8)], 100, spaced)
    assert "assistant:#########\n" in told(found["chats"][0])


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
            "does not write the assistant's earlier answers",
        ),
        ("{{ messages[-1].content }}<assistant>", "does not write the assistant's earlier answers"),
        ("{{ raise_exception('one question only') if messages | length > 1 }}", "one question only"),
    ],
)
def test_a_template_that_cannot_hold_them_is_a_reason(tmp_path: Path, template: str, reason: str) -> None:
    found = made(tmp_path, [conversation(at) for at in range(8)], 100, template)
    assert not found["chats"] and reason in found["reason"]


@pytest.mark.parametrize(("count", "chats"), [(0, 0), (7, 0), (8, 2), (12, 3), (40, 4)])
def test_each_chat_has_an_answer_for_each_part(tmp_path: Path, count: int, chats: int) -> None:
    found = made(tmp_path, [conversation(at) for at in range(count)], 100)
    assert len(found["chats"]) == chats
    assert (found["reason"] is None) == bool(chats)
    if not chats:
        assert f"{count} answered conversations are too few" in found["reason"]


@pytest.mark.parametrize(("length", "reach"), [(90, True), (75, False), (20, False)])
def test_conversations_that_reach_the_last_part_need_no_chats(length: int, reach: bool) -> None:
    few = [{"start": 10, "ids": [0] * 30}] * 20
    assert long_chats.covers([*few, *[{"start": 20, "ids": [0] * length}] * 4], 100) is reach
    assert not long_chats.covers([{"start": 20, "ids": [0] * 90}] * 3, 100)
    assert not long_chats.covers([{"start": 40, "ids": [0] * 90}] * 20, 100)


def test_the_first_id_of_a_text_is_not_scored(tmp_path: Path) -> None:
    answers_alone = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{% endif %}{% endfor %}"
    )
    for chat in made(tmp_path, [conversation(at) for at in range(8)], 30, answers_alone)["chats"]:
        assert chat["answered"] == list(range(1, 30)) and len(chat["bytes"]) == 29


def test_what_is_written_is_json(tmp_path: Path) -> None:
    found = made(tmp_path, [conversation(at) for at in range(8)], 100)
    assert json.loads(json.dumps(found)) == found
    assert long_chats.none(7, "why").keys() == found.keys()
