"""Write a plain JSON schema as a grammar of a runtime that constrains text (worker side).

The grammars are ours, of few and simple rules, so that a runtime compiles each quickly and can always go on.
`edgehone.serve.openai.plain_schemas` says which forms a plain schema has. The text is JSON in ASCII, but for texts that
the model writes freely. There is no recursion, so a value of any form is at most `_LEVELS` deep. Numbers have at most
16 digits before the point, so that none is read as infinity, and spaces are at most those of one indented line, so that
a model cannot write them for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# How deep objects and lists are within each other where the schema allows any value.
_LEVELS = 4
# A runtime takes special tokens for their names, which the text lacks. A name that begins so appears in no grammar:
# `_literal` writes these characters as escapes, and no list begins with a capital letter.
_SPECIAL = re.compile(rb"<|\[[A-Z]|[\x80-\xff]")
_ESCAPED = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<["})


@dataclass(frozen=True)
class Syntax:
    """How a runtime writes a grammar: the first rule's name, what stands after a name, and the smallest rules."""

    first: str
    sign: str
    smallest: Mapping[str, str]


# XGrammar, in OpenVINO GenAI.
EBNF = Syntax("root", "::=", {
    "gap": r'(" " | "\n" " "{0,16})?',
    "text": r'"\"" ([^"\\\x00-\x1F] | "\\" ["\\/bfnrt])* "\""',
    "integer": '"0" | "-"? [1-9] [0-9]{0,15}',
    "number": '"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [+-]? [0-9]{1,2})?',
})  # fmt: skip
# llguidance, in ONNX Runtime GenAI.
LARK = Syntax("start", ":", {
    "gap": r"(/ |\n {0,16}/)?",
    "text": r'/"([^"\\\x00-\x1f]|\\["\\\/bfnrt])*"/',
    "integer": "/0|-?[1-9][0-9]{0,15}/",
    "number": r"/-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,16})?([eE][+-]?[0-9]{1,2})?/",
})  # fmt: skip


def grammar(schema: Mapping[str, Any], syntax: Syntax) -> str:
    """Return the grammar of the JSON texts whose value satisfies a plain schema."""
    writer = _Writer(syntax)
    first = writer.form(schema)
    rules = {syntax.first: first, **writer.rules}
    return "".join(f"{name} {syntax.sign} {rule}\n" for name, rule in rules.items())


def special_problem(names: Iterable[bytes]) -> str | None:
    """Return why the names of special tokens may be taken for a part of a grammar; None if they cannot."""
    found = next((name for name in names if name and not _SPECIAL.match(name)), None)
    return (
        None
        if found is None
        else f"its special token {found.decode(errors='replace')!r} may be a part of JSON"
    )


class _Writer:
    """The rules of a grammar. The same rule is written once."""

    def __init__(self, syntax: Syntax) -> None:
        self._smallest = syntax.smallest
        self.rules: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def form(self, schema: Mapping[str, Any]) -> str:
        """Return an expression for the texts of a schema."""
        if "enum" in schema:
            return self._rule(" | ".join(_literal(_ascii(value)) for value in schema["enum"]))
        if "anyOf" in schema:
            return self._rule(" | ".join(self.form(one) for one in schema["anyOf"]))
        kind = schema.get("type")
        if kind == "array":
            return self._array(self.form(schema["items"]))
        if kind == "object":
            return (
                self._object(schema) if "properties" in schema else self._map(schema["additionalProperties"])
            )
        return self._any(_LEVELS) if kind is None else self._scalar(kind)

    def _scalar(self, kind: str) -> str:
        if kind == "boolean":
            return self._rule('"true" | "false"')
        return '"null"' if kind == "null" else self._small("text" if kind == "string" else kind)

    def _any(self, levels: int) -> str:
        """Return an expression for any value with so many levels of objects and lists."""
        forms = [self._scalar(kind) for kind in ("string", "number", "boolean", "null")]
        if levels:
            inner = self._any(levels - 1)
            forms += [self._members_of(inner), self._array(inner)]
        return self._rule(" | ".join(forms))

    def _array(self, item: str) -> str:
        gap = self._small("gap")
        return self._rule(f'"[" {gap} ({item} ("," {gap} {item})* {gap})? "]"')

    def _map(self, schema: Mapping[str, Any]) -> str:
        return self._members_of(self.form(schema))

    def _members_of(self, value: str) -> str:
        """Return an expression for an object with any names and values of one form."""
        gap = self._small("gap")
        member = f'{self._small("text")} ":" {gap} {value}'
        return self._rule(f'"{{" {gap} ({member} ("," {gap} {member})* {gap})? "}}"')

    def _object(self, schema: Mapping[str, Any]) -> str:
        """Return an expression for an object with the named members, in their order."""
        gap = self._small("gap")
        members = [
            (f"{_literal(f'{_ascii(name)}:')} {gap} {self.form(one)}", name in schema["required"])
            for name, one in schema["properties"].items()
        ]
        return self._rule(f'"{{" {gap} {self._members(members, gap)} "}}"')

    def _members(self, members: Sequence[tuple[str, bool]], gap: str) -> str:
        """Return an expression for the members of an object and the space after them; some need not be there."""
        first, after = "", gap  # from a member on: if none was written before it, and if one was
        for member, needed in reversed(members):
            written, further = f"{member} {after}", f'"," {gap} {member} {after}'
            if needed:
                first, after = written, further
            else:
                first = self._rule(f"{written} | {first}" if first else f"({written})?")
                after = self._rule(f"{further} | {after}")
        return first

    def _small(self, name: str) -> str:
        self.rules.setdefault(name, self._smallest[name])
        return name

    def _rule(self, expression: str) -> str:
        """Return the name of the rule with this expression."""
        if expression not in self._names:
            name = f"r{len(self._names)}"
            self._names[expression] = name
            self.rules[name] = expression
        return self._names[expression]


def _ascii(value: Any) -> str:
    """Return a value as JSON in printable ASCII: llguidance loses characters that consist of several tokens."""
    return json.dumps(value).translate(_ESCAPED)


def _literal(text: str) -> str:
    """Return the expression for a text of printable ASCII characters."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
