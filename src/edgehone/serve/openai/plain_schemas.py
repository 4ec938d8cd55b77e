"""Rewrite a client's JSON schema into a plain one, which every runtime can compile and enforce.

A runtime compiles the schema of a request while it answers others, and one that it cannot compile, or whose automaton
grows while text is generated, ends them all. So OpenVINO GenAI and ONNX Runtime GenAI are never given that of a client.
What they get is made of a tree of these forms, within the limits of plain_schemas.toml:

    {}                                                                    any value
    {"type": "string"}                                                    and number, integer, boolean, null
    {"enum": [texts, integers, true, false, null]}                        one or more, all different
    {"type": "array", "items": FORM}
    {"type": "object", "additionalProperties": FORM}                      any names
    {"type": "object", "properties": {NAME: FORM}, "required": [NAME], "additionalProperties": false}
    {"anyOf": [FORM, FORM]}                                               two or more

Each value that the plain schema allows satisfies the client's. The reverse holds but for members of an object that its
schema allows without naming them: they are not written. Whatever else a schema says is refused with its place.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from edgehone.core.errors import InputError

KEYWORDS = (
    "type, properties, required, additionalProperties, items, enum, const, anyOf, and references that end"
)
_TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
# They say nothing about the values that a schema allows.
_SILENT = frozenset({
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$schema",
    "$defs", "definitions",
})  # fmt: skip
# The keyword that decides what a schema is, and those that may stand beside it.
_BESIDE: Mapping[str, frozenset[str]] = {
    "$ref": frozenset(), "anyOf": frozenset(), "allOf": frozenset(), "const": frozenset({"type"}),
    "enum": frozenset({"type"}), "type": frozenset(),
}  # fmt: skip
_OF_TYPE: Mapping[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}), "array": frozenset({"items"}),
}  # fmt: skip
# Integers that every reader of JSON keeps.
_LARGEST = 2**53 - 1
_SHOWN = 60


@dataclass(frozen=True)
class Bounds:
    """How large a plain schema may be; plain_schemas.toml says what each is."""

    nodes: int
    depth: int
    values: int
    characters: int


_BOUNDS = {
    name: Bounds(**table)
    for name, table in tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")).items()
}


def bounds_of(backend: str) -> Bounds:
    """Return the limits of a backend."""
    return _BOUNDS.get(backend, _BOUNDS["default"])


def plain(schema: Any, bounds: Bounds) -> dict[str, Any]:
    """Return the plain form of a JSON schema.

    Raises InputError, with the place as a JSON pointer and the value, for a schema that has none or is too large.
    """
    return _Rewriter(schema, bounds).form(schema, _At("", 0, ()))


@dataclass(frozen=True)
class _At:
    """Where a schema stands: its JSON pointer, its depth in the plain schema, and the references it was reached by."""

    place: str
    depth: int
    references: tuple[str, ...]

    def below(self, *names: str | int) -> _At:
        return _At(_pointer(self.place, *names), self.depth + 1, self.references)


class _Rewriter:
    def __init__(self, root: Any, bounds: Bounds) -> None:
        self._root, self._bounds = root, bounds
        self._used = dict.fromkeys(("nodes", "values", "characters"), 0)

    def form(self, schema: Any, at: _At) -> dict[str, Any]:
        self._use("nodes", 1, at.place)
        if at.depth >= self._bounds.depth:
            raise InputError(f"{at.place or '/'}: the schema is more than {self._bounds.depth} deep")
        if schema is True:
            return {}
        if not isinstance(schema, dict):
            raise _refused(at.place, schema, "no schema that a value satisfies")
        said = schema.keys() - _SILENT
        if not said:
            return {}
        kind = next((name for name in _BESIDE if name in said), None)
        if kind is None:
            name = min(said)
            why = 'used without "type"' if any(name in of for of in _OF_TYPE.values()) else "not supported"
            raise _refused(_pointer(at.place, name), schema[name], why)
        beside = _BESIDE[kind].union(
            *(_OF_TYPE.get(one, ()) for one in self._types(schema, at) if kind == "type")
        )
        for name in sorted(said - beside - {kind}):
            raise _refused(_pointer(at.place, name), schema[name], f'not supported beside "{kind}"')
        if kind == "$ref":
            return self._referred(schema["$ref"], at)
        if kind in ("anyOf", "allOf"):
            return self._several(kind, schema[kind], at)
        if kind in ("const", "enum"):
            return self._values(schema, kind, at)
        forms = [self._typed(one, schema, at) for one in self._types(schema, at)]
        return forms[0] if len(forms) == 1 else {"anyOf": forms}

    def _types(self, schema: Mapping[str, Any], at: _At) -> list[str]:
        """Return the types that a schema names, all if none."""
        given = schema.get("type", _TYPES)
        types = [given] if isinstance(given, str) else given
        if not types or not isinstance(types, list | tuple) or any(one not in _TYPES for one in types):
            raise _refused(_pointer(at.place, "type"), given, f"none of {', '.join(_TYPES)}")
        return list(dict.fromkeys(types))

    def _typed(self, name: str, schema: Mapping[str, Any], at: _At) -> dict[str, Any]:
        if name == "array":
            return {"type": "array", "items": self.form(schema.get("items", True), at.below("items"))}
        return self._object(schema, at) if name == "object" else {"type": name}

    def _object(self, schema: Mapping[str, Any], at: _At) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, dict):
            raise _refused(_pointer(at.place, "properties"), properties, "no object")
        if not isinstance(required, list):
            raise _refused(_pointer(at.place, "required"), required, "no list")
        for index, name in enumerate(required):
            if not isinstance(name, str) or name not in properties:
                raise _refused(_pointer(at.place, "required", index), name, "not among the properties")
        # Tools without arguments have no properties, and mean none.
        others = schema.get("additionalProperties", "properties" not in schema)
        if not properties and others is not False:
            return {
                "type": "object",
                "additionalProperties": self.form(others, at.below("additionalProperties")),
            }
        if not isinstance(others, bool) and others != {}:
            raise _refused(
                _pointer(at.place, "additionalProperties"), others, 'not supported beside "properties"'
            )
        for name in properties:
            self._use("characters", len(json.dumps(name)), at.place)
        forms = {name: self.form(one, at.below("properties", name)) for name, one in properties.items()}
        needed = [name for name in properties if name in required]
        return {"type": "object", "properties": forms, "required": needed, "additionalProperties": False}

    def _several(self, kind: str, schemas: Any, at: _At) -> dict[str, Any]:
        place = _pointer(at.place, kind)
        if not isinstance(schemas, list) or not schemas:
            raise _refused(place, schemas, "no list of schemas")
        if kind == "allOf" and len(schemas) > 1:
            raise _refused(place, schemas, "not supported with more than one schema")
        if len(schemas) == 1:
            return self.form(schemas[0], _At(_pointer(place, 0), at.depth, at.references))
        return {"anyOf": [self.form(one, at.below(kind, index)) for index, one in enumerate(schemas)]}

    def _values(self, schema: Mapping[str, Any], kind: str, at: _At) -> dict[str, Any]:
        place, given = _pointer(at.place, kind), schema[kind]
        if kind == "enum" and not isinstance(given, list):
            raise _refused(place, given, "no list")
        values = given if kind == "enum" else [given]
        for value in values:
            if not isinstance(value, str | int | None) or (isinstance(value, int) and abs(value) > _LARGEST):
                raise _refused(place, value, "no text, integer below 2^53, true, false or null")
        types = self._types(schema, at)
        kept = {json.dumps(value): value for value in values if _is_one(value, types)}
        if not kept:
            raise _refused(place, given, "a schema without a value")
        self._use("values", len(kept), place)
        self._use("characters", sum(map(len, kept)), place)
        return {"enum": list(kept.values())}

    def _referred(self, reference: Any, at: _At) -> dict[str, Any]:
        place = _pointer(at.place, "$ref")
        if reference in at.references:
            raise _refused(place, reference, "a reference of a schema to itself, which is not supported")
        target = self._target(reference, place)
        return self.form(target, _At(reference.removeprefix("#"), at.depth, (*at.references, reference)))

    def _target(self, reference: Any, place: str) -> Any:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise _refused(place, reference, "no reference to a place in this schema, such as #/$defs/name")
        found = self._root
        for part in reference.split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, dict) and name in found:
                found = found[name]
            else:
                raise _refused(place, reference, "a reference to nothing")
        return found

    def _use(self, what: str, more: int, place: str) -> None:
        self._used[what] += more
        if self._used[what] > (most := getattr(self._bounds, what)):
            raise InputError(f"{place or '/'}: the schema has more than {most} {what}")


def _is_one(value: Any, types: Iterable[str]) -> bool:
    """Return whether a value of an enumeration has one of the types."""
    if value is None:
        return "null" in types
    if isinstance(value, bool):
        return "boolean" in types
    return "string" in types if isinstance(value, str) else bool({"integer", "number"} & set(types))


def _pointer(place: str, *names: str | int) -> str:
    return place + "".join("/" + str(name).replace("~", "~0").replace("/", "~1") for name in names)


def _refused(place: str, value: Any, why: str) -> InputError:
    shown = json.dumps(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return InputError(f"{place or '/'} is {shown}: {why}")
