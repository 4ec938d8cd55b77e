"""Whether an answer of a chat model passes the check of its task (worker side; see `inputs.chat_tasks`)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_FENCED = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_CLOSE = 1e-6
_PYTHON: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def passes(check: Mapping[str, Any], answer: str) -> bool:
    """Return whether an answer is right by the only entry of `check`."""
    ((kind, told),) = check.items()
    return _KINDS[kind](told, answer)


def _contains(told: Any, answer: str) -> bool:
    texts = told if isinstance(told, list) else [told]
    return any(one.lower() in answer.lower() for one in texts)


def _matches(told: Any, answer: str) -> bool:
    return re.search(told, answer.strip(), re.IGNORECASE) is not None


def _number(told: Any, answer: str) -> bool:
    found = _NUMBER.findall(answer)
    if not found:
        return False
    value = float(found[-1].replace(",", ""))
    return bool(abs(value - told) <= _CLOSE * max(1.0, abs(told)))


def _json(told: Any, answer: str) -> bool:
    """Return whether the whole answer, or what is fenced in it, is JSON that the schema accepts."""
    fenced = _FENCED.search(answer)
    try:
        value = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        return False
    return accepts(told, value)


def _call(told: Any, answer: str) -> bool:
    """Return whether the answer has a call of the tool: templates write it between marks of their own."""
    for value in _objects(answer):
        inner = value.get("function", value)
        if not isinstance(inner, dict) or inner.get("name") != told["name"]:
            continue
        arguments = inner.get("arguments", inner.get("parameters", {}))
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except (ValueError, RecursionError):
                continue
        if accepts(told.get("arguments", {}), arguments):
            return True
    return False


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a text, the outermost ones."""
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        if isinstance(value, dict):
            yield value


def accepts(schema: Mapping[str, Any], value: Any) -> bool:
    """Return whether a value fits a schema with the keywords of `inputs.chat_tasks.KEYWORDS`."""
    kind = schema.get("type")
    if kind is not None and not _has_type(kind, value):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, dict) and not _accepts_object(schema, value):
        return False
    if isinstance(value, list) and not _accepts_array(schema, value):
        return False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    return True


def _has_type(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _PYTHON[kind]) or (
        kind == "integer" and isinstance(value, float) and value.is_integer()
    )


def _accepts_object(schema: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    properties = schema.get("properties", {})
    if any(name not in value for name in schema.get("required", ())):
        return False
    if schema.get("additionalProperties") is False and value.keys() - properties.keys():
        return False
    return all(accepts(inner, value[name]) for name, inner in properties.items() if name in value)


def _accepts_array(schema: Mapping[str, Any], value: list[Any]) -> bool:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return False
    return all(accepts(schema["items"], one) for one in value) if "items" in schema else True


_KINDS: Mapping[str, Callable[[Any, str], bool]] = {
    "contains": _contains,
    "matches": _matches,
    "number": _number,
    "json": _json,
    "call": _call,
}
