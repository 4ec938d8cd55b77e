"""Find the calls of tools in what a model writes.

Two forms are known: JSON objects between <tool_call> and </tool_call>, and an answer that is nothing but such an object
or a list of them. An object has a `name` and `arguments` (or `parameters`), or both within `function`. What is not a
call of one of the request's tools is text.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec

BEGIN, END = "<tool_call>", "</tool_call>"
# How an answer that is only a call begins, without its white space.
_KEYS = ("name", "arguments", "parameters", "function", "type", "id")
_OPENINGS = tuple(f'{start}{{"{key}"' for start in ("", "[") for key in _KEYS)
# White space may stand between the characters of an opening, but not for ever.
_LONGEST_OPENING = 200
_PLACES = "start", "text", "call", "json"


@dataclass(frozen=True)
class Call:
    """A call of a tool: its name and its arguments as JSON."""

    name: str
    arguments: str
    number: str = field(default_factory=lambda: secrets.token_hex(12))


class CallFinder:
    """Takes the text of an answer piece by piece and divides it into text and calls."""

    def __init__(self, names: Collection[str], *, single: bool) -> None:
        """`names` are those of the tools. With `single`, everything after the first call is left out."""
        self._names, self._single = names, single
        self._held = ""
        self._place = (
            "start"  # of _PLACES: before anything but white space; in text; in a tag; in a whole answer
        )
        self._before = (
            BEGIN  # the tag, with white space before it that belongs to the text if there is no call
        )
        self._spoken = False  # whether text was returned
        self.found = 0

    @property
    def done(self) -> bool:
        """Whether nothing more is wanted."""
        return self._single and self.found > 0

    def add(self, text: str, *, last: bool) -> tuple[str, list[Call]]:
        """Add a piece. Return the text that is certainly none of a call, and the calls that are complete."""
        self._held += text
        said, calls = "", list[Call]()
        before = None
        while before != (self._place, self._held) and not self.done:
            before = self._place, self._held
            more, found = getattr(self, f"_{self._place}")(last)
            said, calls = said + more, calls + found
            self.found += len(found)
        self._spoken = self._spoken or bool(said)
        return said, calls

    def _start(self, last: bool) -> tuple[str, list[Call]]:
        """Hold white space back, and decide what comes after it."""
        begun = self._held.lstrip()
        if not begun or (BEGIN.startswith(begun) and begun != BEGIN and not last):
            return ("", []) if self.found or not last else self._text(last)
        if begun.startswith(BEGIN):
            self._before = self._held[: len(self._held) - len(begun)] + BEGIN
            self._held, self._place = begun.removeprefix(BEGIN), "call"
            return "", []
        if not self._spoken and not self.found and begun[0] in "{[":
            self._place = "json"
        else:
            self._place = "text"
        return "", []

    def _text(self, last: bool) -> tuple[str, list[Call]]:
        """Return text up to a tag, or up to what may become one."""
        said, tag, rest = self._held.partition(BEGIN)
        if tag:
            self._held, self._place, self._before = rest, "call", BEGIN
            return said, []
        kept = 0 if last else max(size for size in range(len(BEGIN)) if said.endswith(BEGIN[:size]))
        self._held = said[len(said) - kept :]
        return said[: len(said) - kept], []

    def _call(self, last: bool) -> tuple[str, list[Call]]:
        """Read a call up to the end of its tag; at the end of the answer the tag may be missing."""
        inner, tag, rest = self._held.partition(END)
        if not tag and not last:
            return "", []
        call = self._read(_decoded(inner))
        self._held, self._place = rest, "start" if call else "text"
        return ("", [call]) if call else (self._before + inner + tag, [])

    def _json(self, last: bool) -> tuple[str, list[Call]]:
        """Hold an answer back that may be only a call, until its end."""
        compact = "".join(self._held.split())
        if not any(one.startswith(compact[: len(one)]) for one in _OPENINGS) or (
            len(self._held) > _LONGEST_OPENING and not compact.startswith(_OPENINGS)
        ):
            self._place = "text"
            return "", []
        if not last:
            return "", []
        whole = _decoded(self._held)
        calls = [self._read(one) for one in (whole if isinstance(whole, list) else [whole])]
        known = [call for call in calls if call is not None]
        if not known or len(known) < len(calls):
            self._place = "text"
            return "", []
        self._held = ""
        return "", known[:1] if self._single else known

    def _read(self, given: Any) -> Call | None:
        """Return the call that an object states, or None."""
        if isinstance(given, dict) and isinstance(given.get("function"), dict):
            given = given["function"]
        if not isinstance(given, dict) or given.get("name") not in self._names:
            return None
        arguments = given.get("arguments", given.get("parameters", {}))
        if isinstance(arguments, str):
            arguments = _decoded(arguments)
        if not isinstance(arguments, dict):
            return None
        return Call(given["name"], msgspec.json.encode(arguments).decode())


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return None
