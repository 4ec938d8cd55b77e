"""Read the structure of an OpenVINO IR (.xml) strictly: constants lie within the .bin, operators are OpenVINO's.

The format: a `net` with `layers` of `layer`s, each with a type, a version (the operator set), and for constants `data`
with offset and size in the .bin of the same name. Entities and document types, which the format does not use, are
refused before parsing, since they can make a parser read other files or take all memory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from xml.parsers import expat

from edgehone.core.errors import ModelError

_SETS = re.compile(r"opset\d+|ie_internal_opset|util|gpu_opset|ov_internal_opset")


def problems(path: Path, allowed: Collection[str] = ()) -> list[str]:
    """Return what is outside the .bin, and operators of versions that are neither OpenVINO's nor `allowed`.

    Raises ModelError for a file that is no IR.
    """
    weights = path.with_suffix(".bin")
    size = weights.stat().st_size if weights.is_file() else 0
    found, layers = [], 0
    for name, attributes in _elements(path):
        if name == "layer":
            layers += 1
            version = attributes.get("version", "")
            if not _SETS.fullmatch(version) and version not in allowed:
                kind = attributes.get("type", "?")
                found.append(
                    f"operator {kind} of version {version!r} needs a library that is not the runtime's"
                )
        elif name == "data" and "offset" in attributes:
            try:
                begin, length = int(attributes["offset"]), int(attributes.get("size", "0"))
            except ValueError:
                found.append(f"a constant has the offset {attributes['offset']!r}")
                continue
            if begin < 0 or length < 0 or begin + length > size:
                found.append(
                    f"a constant lies at {begin} to {begin + length}; {weights.name} has {size} bytes"
                )
    if not layers:
        raise ModelError(f"{path} is not an OpenVINO IR: it has no layers")
    return found


def _elements(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    elements: list[tuple[str, dict[str, str]]] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: elements.append((name, attributes))

    def refuse(*what: object) -> None:
        raise ModelError(f"{path} declares a document type or an entity, which an OpenVINO IR does not")

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise ModelError(f"{path} is not valid XML: {error}") from error
    yield from elements
