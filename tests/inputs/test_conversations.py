"""Conversations that chat models are evaluated on: the shipped ones, and files that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import TextError
from edgehone.inputs.conversations import read, shipped

GOOD = {"messages": [{"role": "user", "content": "Hello"}]}


def write(path: Path, *entries: Any) -> Path:
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in entries), "utf-8")
    return path


def test_two_hundred_different_ones_ship() -> None:
    found = read(shipped())
    assert len(found) == 200 == len({json.dumps(one) for one in found})
    assert sum(len(one) > 1 for one in found) >= 10
    assert all(one[-1]["role"] == "user" for one in found)


def test_blank_lines_and_further_keys_are_skipped(tmp_path: Path) -> None:
    more = {"messages": [{"role": "user", "content": "Hi", "name": "x"}], "source": "here"}
    path = write(tmp_path / "c.jsonl", *[GOOD] * 9, "", more)
    assert read(path)[-1] == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{", "line 11 is not JSON"),
        ("[" * 100_000, "line 11 is not JSON"),
        ([], "line 11 has no list of messages"),
        ({"messages": []}, "has no list of messages"),
        ({"messages": ["Hello"]}, "has no list of messages"),
        ({"messages": [{"role": "user", "content": None}]}, "has no list of messages"),
        (
            {"messages": [{"role": "bot", "content": "x"}]},
            "the role 'bot'; known are system, user, assistant",
        ),
        ({"messages": [{"role": "system", "content": "x"}]}, "does not end with a message of the user"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, entry: Any, message: str) -> None:
    with pytest.raises(TextError, match=message) as caught:
        read(write(tmp_path / "c.jsonl", *[GOOD] * 10, entry))
    assert caught.value.exit_code == 2 and caught.value.hint


def test_files_that_are_missing_short_or_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="cannot be read: No such file"):
        read(tmp_path / "missing.jsonl")
    with pytest.raises(TextError, match="has 3 conversations: at least 10 are needed"):
        read(write(tmp_path / "few.jsonl", *[GOOD] * 3))
    (tmp_path / "latin.jsonl").write_bytes(b'{"messages": "\xe9"}')
    with pytest.raises(TextError, match="are not UTF-8: byte 14"):
        read(tmp_path / "latin.jsonl")
