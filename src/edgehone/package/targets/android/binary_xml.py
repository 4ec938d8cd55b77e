"""Compile an AndroidManifest.xml to Android's binary XML.

The format is that of frameworks/base/libs/androidfw/include/androidfw/ResourceTypes.h: a pool of strings, the resource
numbers of the attributes whose names come first in the pool, then one chunk for each tag. Only what a manifest without
resources needs is written: strings, integers and booleans.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

_ANDROID: Final = "http://schemas.android.com/apk/res/android"
_XML, _POOL, _RESOURCES = 0x0003, 0x0001, 0x0180
_NAMESPACE, _NAMESPACE_END, _ELEMENT, _ELEMENT_END = 0x0100, 0x0101, 0x0102, 0x0103
_STRING, _INTEGER, _BOOLEAN = 0x03, 0x10, 0x12
_NONE = 0xFFFFFFFF
# The numbers in android.R.attr and the types of the attributes that our manifests have.
_ATTRIBUTES: Final = {
    "label": (0x01010001, _STRING),
    "name": (0x01010003, _STRING),
    "hasCode": (0x0101000C, _BOOLEAN),
    "value": (0x01010024, _STRING),
    "minSdkVersion": (0x0101020C, _INTEGER),
    "versionCode": (0x0101021B, _INTEGER),
    "versionName": (0x0101021C, _STRING),
    "targetSdkVersion": (0x01010270, _INTEGER),
    "allowBackup": (0x01010280, _BOOLEAN),
}


@dataclass(frozen=True)
class _Attribute:
    space: str | None
    name: str
    kind: int
    text: str
    number: int  # in android.R.attr; 0 for attributes without a namespace


class _Strings:
    """The pool. The names of Android's attributes come first, since the table of resource numbers goes by position."""

    def __init__(self, known: dict[str, int]) -> None:
        self.numbers = list(known.values())
        self._places = {name: place for place, name in enumerate(known)}
        self._others: dict[str, int] = {}

    def place(self, text: str) -> int:
        """Return the place of a string that is no name of an Android attribute."""
        return self._others.setdefault(text, len(self._places) + len(self._others))

    def place_of_name(self, attribute: _Attribute) -> int:
        """Return the place of an attribute's name."""
        return self._places[attribute.name] if attribute.space else self.place(attribute.name)

    def chunk(self) -> bytes:
        """Return the chunk of the pool, in UTF-16."""
        texts = [*self._places, *self._others]
        entries = [
            struct.pack("<H", len(text.encode("utf-16-le")) // 2) + text.encode("utf-16-le") + b"\0\0"
            for text in texts
        ]
        offsets, at = [], 0
        for entry in entries:
            offsets.append(at)
            at += len(entry)
        data = b"".join(entries)
        data += b"\0" * (-len(data) % 4)
        start = 28 + 4 * len(offsets)
        head = struct.pack("<HHIIIIII", _POOL, 28, start + len(data), len(texts), 0, 0, start, 0)
        return head + struct.pack(f"<{len(offsets)}I", *offsets) + data


def compile_manifest(text: str) -> bytes:
    """Return a manifest in binary form. Raises KeyError for an attribute that is not in the table above."""
    root = ElementTree.fromstring(text)
    used = {one.name: one.number for element in root.iter() for one in _attributes(element) if one.space}
    strings = _Strings(dict(sorted(used.items(), key=lambda item: item[1])))
    space = struct.pack("<II", strings.place("android"), strings.place(_ANDROID))
    tags = b"".join(_element(root, strings))
    body = _tag(_NAMESPACE, space) + tags + _tag(_NAMESPACE_END, space)
    numbers = struct.pack(f"<HHI{len(strings.numbers)}I", _RESOURCES, 8, 8 + 4 * len(used), *strings.numbers)
    content = strings.chunk() + numbers + body
    return struct.pack("<HHI", _XML, 8, 8 + len(content)) + content


def _attributes(element: ElementTree.Element) -> list[_Attribute]:
    """Return the attributes in the order of their numbers, by which Android searches them."""
    found = []
    for key, text in element.attrib.items():
        if key.startswith(f"{{{_ANDROID}}}"):
            name = key.removeprefix(f"{{{_ANDROID}}}")
            number, kind = _ATTRIBUTES[name]
            found.append(_Attribute(_ANDROID, name, kind, text, number))
        else:
            found.append(_Attribute(None, key, _STRING, text, 0))
    return sorted(found, key=lambda one: (one.space is None, one.number, one.name))


def _element(element: ElementTree.Element, strings: _Strings) -> Iterator[bytes]:
    attributes = _attributes(element)
    name = strings.place(element.tag)
    head = struct.pack("<IIHHHHHH", _NONE, name, 20, 20, len(attributes), 0, 0, 0)
    yield _tag(_ELEMENT, head + b"".join(_attribute(one, strings) for one in attributes))
    for inner in element:
        yield from _element(inner, strings)
    yield _tag(_ELEMENT_END, struct.pack("<II", _NONE, name))


def _attribute(one: _Attribute, strings: _Strings) -> bytes:
    raw, data = _NONE, 0
    if one.kind == _STRING:
        raw = data = strings.place(one.text)
    elif one.kind == _BOOLEAN:
        data = {"true": 0xFFFFFFFF, "false": 0}[one.text]
    else:
        data = int(one.text)
    space = strings.place(one.space) if one.space else _NONE
    return struct.pack("<IIIHBBI", space, strings.place_of_name(one), raw, 8, 0, one.kind, data)


def _tag(kind: int, content: bytes) -> bytes:
    """Return a chunk of the tree; all are said to be in line 1."""
    return struct.pack("<HHIII", kind, 16, 16 + len(content), 1, _NONE) + content
