"""Tasks for chat: conversations whose answers can be checked, as JSON lines for `--task`.

    {"messages": [{"role": "user", "content": "What is 2 + 2?"}], "check": {"number": 4}}

A conversation ends with a message of the user, which the model answers. `check` is one of

    {"contains": "Paris"} or {"contains": ["Paris", "paris"]}    one of the texts, whatever its capitals
    {"matches": "^(yes|no)"}                                     a regular expression, found anywhere, whatever capitals
    {"number": 4}                                                the last number of the answer
    {"json": SCHEMA}                                             the answer is JSON that the schema accepts
    {"call": {"name": "weather", "arguments": SCHEMA}}           a call of a tool in JSON; `tools` may list the tools

Schemas have the keywords of `KEYWORDS`; others are refused, so that none is ignored. 34 tasks ship
(`src/edgehone/data/texts/chat_tasks.jsonl`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from edgehone.core.errors import TextError

KINDS = ("contains", "matches", "number", "json", "call")
# What structured output is: its share is told by itself.
STRUCTURED = ("json", "call")
KEYWORDS = frozenset({
    "type", "properties", "required", "additionalProperties", "items", "enum", "minimum", "maximum", "minItems",
    "maxItems", "description", "title",
})  # fmt: skip
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_HINT = '{"messages": [{"role": "user", "content": "2 + 2?"}], "check": {"number": 4}}, one a line'
_ROLES = ("system", "user", "assistant")


def shipped() -> Path:
    """Return the path of the tasks that ship. Raises TextError if the installation lacks them."""
    path = Path(str(resources.files("edgehone").joinpath("data", "texts", "chat_tasks.jsonl")))
    if not path.is_file():
        raise TextError(f"the shipped tasks are not at {path}", hint="reinstall edgehone")
    return path


def are_in(path: Path) -> bool:
    """Return whether the first line of a file is a task for chat, not a multiple-choice question."""
    try:
        lines = path.read_text("utf-8-sig", "replace").split("\n")
        first = json.loads(next((line for line in lines if line.strip()), "null"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and "messages" in first


def read(path: Path) -> list[dict[str, Any]]:
    """Return the tasks of a file: messages, check and tools. Raises TextError with the line of one that is none."""
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except OSError as error:
        raise TextError(f"the tasks {path} cannot be read: {error.strerror}", hint=_HINT) from error
    except UnicodeDecodeError as error:
        raise TextError(f"the tasks {path} are not UTF-8: byte {error.start}", hint=_HINT) from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_task(json.loads(line)))
            except (ValueError, RecursionError, re.error) as error:
                raise TextError(f"{path}, line {number}: {error}", hint=_HINT) from error
    if not found:
        raise TextError(f"the task file {path} is empty", hint=_HINT)
    return found


def _task(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict) or (unknown := sorted(data.keys() - {"messages", "check", "tools"})):
        raise ValueError(
            f"not a task: {unknown[0]!r} is not known" if isinstance(data, dict) else "not an object"
        )
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        raise ValueError("messages is not a list of messages with a role and a text")
    if messages[-1]["role"] != "user":
        raise ValueError("the last message is not the user's, which the model is to answer")
    tools = data.get("tools", [])
    if not isinstance(tools, list) or not all(isinstance(one, dict) for one in tools):
        raise ValueError("tools is not a list of objects")
    check = data.get("check")
    if not isinstance(check, dict) or len(check) != 1 or next(iter(check)) not in KINDS:
        raise ValueError(f"check is {json.dumps(check)[:60]}, not one of {', '.join(KINDS)}")
    _check(*next(iter(check.items())))
    return {"messages": messages, "check": check, "tools": tools}


def _is_message(one: Any) -> bool:
    return isinstance(one, dict) and one.get("role") in _ROLES and isinstance(one.get("content"), str)


def _check(kind: str, told: Any) -> None:
    if kind == "contains":
        texts = told if isinstance(told, list) else [told]
        if not texts or not all(isinstance(one, str) and one for one in texts):
            raise ValueError(f"contains is {str(told)[:60]!r}, not a text or a list of texts")
    elif kind == "matches":
        if not isinstance(told, str):
            raise ValueError(f"matches is {str(told)[:60]!r}, not a regular expression")
        re.compile(told)
    elif kind == "number":
        if isinstance(told, bool) or not isinstance(told, (int, float)):
            raise ValueError(f"number is {str(told)[:60]!r}")
    elif kind == "call":
        if not isinstance(told, dict) or not isinstance(told.get("name"), str):
            raise ValueError("call has no name of a tool")
        _check_schema(told.get("arguments", {}))
    else:
        _check_schema(told)


def _check_schema(schema: Any) -> None:
    if not isinstance(schema, Mapping):
        raise ValueError(f"a schema is an object, not {str(schema)[:60]!r}")
    if unknown := sorted(schema.keys() - KEYWORDS):
        raise ValueError(
            f"the keyword {unknown[0]!r} of the schema is not known; known are {', '.join(sorted(KEYWORDS))}"
        )
    if "type" in schema and schema["type"] not in TYPES:
        raise ValueError(f"the type {schema['type']!r} of the schema is none of {', '.join(TYPES)}")
    for inner in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        _check_schema(inner)
