"""The smallest value that satisfies a JSON schema, for the null engine (worker side)."""

from __future__ import annotations

from typing import Any

from edgehone.core.errors import InputError

_DEPTH = 32


def smallest(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """Return a value that satisfies a schema of const, enum, anyOf, oneOf, $ref, and the types with their least sizes.

    Raises InputError for a schema that this does not know, or that refers to itself without end.
    """
    root = schema if root is None else root
    if depth > _DEPTH or not isinstance(schema, dict):
        raise _unknown(schema)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    several = schema.get("anyOf") or schema.get("oneOf")
    if several or "$ref" in schema:
        return smallest(several[0] if several else _target(str(schema["$ref"]), root), root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: Any, root: Any, depth: int) -> Any:
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        known = schema.get("properties", {})
        return {name: smallest(known[name], root, depth + 1) for name in schema.get("required", ())}
    if kind == "array":
        return [smallest(schema.get("items", {}), root, depth + 1)] * schema.get("minItems", 0)
    if schema.keys() & {"pattern", "format"}:
        raise _unknown(schema)
    plain = {
        "string": "a" * schema.get("minLength", 0), "integer": schema.get("minimum", 0),
        "number": schema.get("minimum", 0), "boolean": False, "null": None,
    }  # fmt: skip
    if kind not in plain:
        raise _unknown(schema)
    return plain[kind]


def _unknown(schema: Any) -> InputError:
    return InputError(f"the null backend does not know the JSON schema {str(schema)[:80]}")


def _target(reference: str, root: Any) -> Any:
    """Return what a JSON pointer such as "#/$defs/name" refers to."""
    found = root
    for name in reference.removeprefix("#").split("/")[1:]:
        found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found
