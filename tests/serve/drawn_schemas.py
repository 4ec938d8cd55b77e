"""JSON schemas drawn at random that have a plain form, and values of them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

_SCALARS = ("string", "number", "integer", "boolean", "null")
_LETTERS = 'ab z"\\/é漢😀{}[]<s>\n\t.,:-'


def drawn(source: random.Random, levels: int, *, closed: bool = False) -> dict[str, Any]:
    """Return a schema, at most `levels` deep. With `closed` no object has members that it does not name."""
    definitions: dict[str, Any] = {}
    for name in ("a b", "x/y", "~z")[: source.randint(0, 3)]:  # each refers at most to those before it
        definitions[name] = _schema(source, max(0, levels - 1), dict(definitions), closed)
    found = _schema(source, levels, definitions, closed)
    return {**found, "$defs": definitions} if definitions else found


def _schema(
    source: random.Random, levels: int, definitions: Mapping[str, Any], closed: bool
) -> dict[str, Any]:
    kinds = ["scalar", "scalar", "values", "constant", "types"]
    kinds += ["any"] * (not closed) + ["reference"] * bool(definitions)
    kinds += ["object", "object", "array", "either", "map"] if levels else []
    kind = source.choice(kinds)
    if kind == "reference":
        name = source.choice(list(definitions)).replace("~", "~0").replace("/", "~1").replace(" ", "%20")
        return {"$ref": f"#/$defs/{name}", "description": "elsewhere"}
    if kind == "scalar":
        return {"type": source.choice(_SCALARS), "title": "A scalar", "default": 1}
    if kind == "values":
        return {"enum": [_value(source) for _ in range(source.randint(1, 5))]}
    if kind == "constant":
        return {"const": _value(source)}
    if kind == "types":
        return {"type": source.sample(_SCALARS, source.randint(1, 3))}
    return _nested(kind, source, levels - 1, definitions, closed)


def _nested(
    kind: str, source: random.Random, levels: int, definitions: Mapping[str, Any], closed: bool
) -> dict[str, Any]:
    def below() -> Any:
        return _schema(source, levels, definitions, closed)

    if kind == "any":
        return {"$comment": "any value"}
    if kind == "array":
        return {"type": "array", "items": below()}
    if kind == "map":
        return {"type": "object", "additionalProperties": below()}
    if kind == "either":
        forms = [below() for _ in range(source.randint(1, 3))]
        return {"allOf" if len(forms) == 1 else "anyOf": forms}
    names = [_text(source) + str(at) for at in range(source.randint(1, 4))]
    found: dict[str, Any] = {"type": "object", "properties": {name: below() for name in names}}
    found["required"] = [name for name in names if source.random() < 0.5]
    if closed or source.random() < 0.5:
        found["additionalProperties"] = False
    return found


def _text(source: random.Random) -> str:
    return "".join(source.choice(_LETTERS) for _ in range(source.randint(0, 6)))


def _value(source: random.Random) -> Any:
    return source.choice(
        [_text(source), source.randint(-(2**53) + 1, 2**53 - 1), source.randint(-9, 9), True, False, None]
    )


def instance(source: random.Random, plain: Mapping[str, Any], levels: int = 3) -> Any:
    """Return a value of a plain schema."""
    return json.loads(written(source, plain, levels))


def written(source: random.Random, plain: Mapping[str, Any], levels: int = 3) -> str:
    """Return a value of a plain schema as a text that its grammar has."""
    if "enum" in plain:
        return _literal(source.choice(plain["enum"]))
    if "anyOf" in plain:
        return written(source, source.choice(plain["anyOf"]), levels)
    kind = plain.get("type") or source.choice(_SCALARS + (("array", "object") if levels else ()))
    if kind == "array":
        item = plain.get("items", {})
        return _joined(source, "[]", [written(source, item, levels - 1) for _ in range(source.randint(0, 3))])
    if kind == "object":
        return _object(source, plain, levels - 1)
    return json.dumps({
        "string": _text(source), "integer": source.randint(-(10**15), 10**15), "boolean": source.random() < 0.5,
        "number": source.choice([0, -1, 2.5, 1e-7, -3.25e20]), "null": None,
    }[kind], ensure_ascii=False)  # fmt: skip


def _object(source: random.Random, plain: Mapping[str, Any], levels: int) -> str:
    if "properties" in plain:
        forms = plain["properties"]
        members = [
            (_literal(name), forms[name])
            for name in forms
            if name in plain["required"] or source.random() < 0.5
        ]
    else:
        inner = plain.get("additionalProperties", {})
        names = [json.dumps(_text(source), ensure_ascii=False) for _ in range(source.randint(0, 3))]
        members = [(name, inner) for name in names]
    return _joined(
        source, "{}", [f"{name}:{_gap(source)}{written(source, form, levels)}" for name, form in members]
    )


def _joined(source: random.Random, around: str, parts: Sequence[str]) -> str:
    inner = "".join("," * (at > 0) + _gap(source) + part for at, part in enumerate(parts))
    return f"{around[0]}{inner}{_gap(source)}{around[1]}"


def _gap(source: random.Random) -> str:
    return source.choice(["", " ", "\n", "\n  ", "\n" + 16 * " "])


def _literal(value: Any) -> str:
    return json.dumps(value).replace("<", "\\u003c").replace("[", "\\u005b")
