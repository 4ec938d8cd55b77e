"""Write plain data as YAML that people read: block style, long texts as blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# Words of letters that YAML 1.1 or 1.2 reads as something else than text.
_RESERVED = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*", re.ASCII)
# Several lines of printable characters, none of which begins or ends with a space.
_BLOCK = re.compile(r"[!-~]([ -~]*[!-~])?(\n[!-~]([ -~]*[!-~])?)+")


def yaml_text(value: Any, comment: str = "") -> str:
    """Return a YAML document of mappings, sequences, texts, numbers, booleans and None, after a comment."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    return head + "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        found = []
        for key, one in value.items():
            found += _entry(f"{scalar(str(key))}:", one)
        return found
    if _is_list(value) and value:
        found = []
        for one in value:
            first, *rest = _lines(one) if isinstance(one, Mapping) or _is_list(one) else _entry("", one)
            found += [f"- {first.lstrip()}", *(f"  {line}" for line in rest)]
        return found
    return [_flow(value)]


def _entry(key: str, value: Any) -> list[str]:
    if (isinstance(value, Mapping) or _is_list(value)) and value:
        return [key, *(f"  {line}" for line in _lines(value))]
    if isinstance(value, str) and _BLOCK.fullmatch(value):
        return [f"{key} |-".lstrip(), *(f"  {line}" for line in value.split("\n"))]
    return [f"{key} {_flow(value)}".lstrip()]


def _flow(value: Any) -> str:
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, Mapping):
        return "{}"
    if _is_list(value):
        return "[]"
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    digits, exponent, power = repr(value).partition("e")
    # YAML 1.1 reads 1e-13 as text, 1.0e-13 as a number.
    return f"{digits}{'' if '.' in digits or not exponent else '.0'}{exponent}{power}"


def scalar(text: str) -> str:
    """Return a text as a scalar: as it is where nothing else can be meant, else quoted."""
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return '"' + "".join(_escaped(one) for one in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
