"""Repair JSON that is cut off or broken: keep what is complete before that position."""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+)', re.S)
_SIGN = {"comma": ",", "colon": ":"}
_CLOSING = {"{": "}", "[": "]"}


def repair(text: str) -> Any:
    """Return the value that `text` begins with, without incomplete members of lists and objects.

    Raises ValueError if nothing is complete.
    """
    opened: list[str] = []  # the containers around the current position
    sound, closing = 0, ""  # the length of the longest valid beginning, and the brackets that complete it
    expect = "value"
    at = 0
    while token := _TOKEN.match(text, at):
        word, at = token[1], token.end()
        following = _after(word, expect, opened)
        if following is None or (at == len(text) and word[-1] not in '"]}'):
            break  # a number at the end of the text may be incomplete
        expect = following
        if word in _CLOSING:
            opened.append(word)
        elif word in ("}", "]"):
            opened.pop()
        if word in _CLOSING or expect == "comma":
            sound, closing = at, "".join(_CLOSING[one] for one in reversed(opened))
    return json.loads(text[:sound] + closing)


def _after(word: str, expect: str, opened: list[str]) -> str | None:
    """Return what must follow the word, or None if the word is invalid at this position."""
    inside = opened[-1] if opened else ""
    if expect in ("first value", "first key", "comma") and word == _CLOSING.get(inside):
        return "comma"
    if expect in ("comma", "colon"):
        return (
            {"{,": "key", "[,": "value", "{:": "value"}.get(inside + word) if _SIGN[expect] == word else None
        )
    if expect in ("key", "first key"):
        return "colon" if word[0] == '"' else None
    if word in _CLOSING:
        return "first key" if word == "{" else "first value"
    return "comma" if _is_value(word) else None


def _is_value(word: str) -> bool:
    try:
        json.loads(word)
    except ValueError:
        return False
    return True
