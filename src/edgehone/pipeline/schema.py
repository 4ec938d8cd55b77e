"""The JSON Schema of a pipeline file, made from its types and words.toml. Editors complete and check by it."""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

from edgehone.core import typed_json
from edgehone.package import deployment
from edgehone.pipeline import document
from edgehone.pipeline.document import DEPLOYMENTS, SECTION, Document


def schema() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12)."""
    generated = typed_json.schema(Document)
    tables = generated["$defs"]
    for name, words in _words().items():
        for key, text in words.items():
            tables[name]["properties"][key]["description"] = text
    for name, cls in vars(document).items():
        if is_dataclass(cls) and isinstance(cls, type) and name in tables:
            _add_defaults(cls, tables[name]["properties"])
    blocks = deployment.schema()
    tables["Block"] = blocks.pop("Block")
    whole = tables["Document"]
    for name in DEPLOYMENTS:
        whole["properties"][name] |= blocks[name]
        whole["properties"][name].pop("anyOf", None)
    whole["required"] = []
    whole["anyOf"] = [{"required": [name]} for name in (SECTION, *DEPLOYMENTS)]
    return {**generated, "title": "edgehone pipeline"}


def _add_defaults(cls: type, properties: dict[str, Any]) -> None:
    hints = get_type_hints(cls)
    for one in fields(cls):
        if (
            one.name in properties
            and isinstance(one.default, str | float | int)
            and not is_dataclass(hints[one.name])
        ):
            properties[one.name]["default"] = one.default


def _words() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(str(files("edgehone.pipeline").joinpath("words.toml"))).read_text("utf-8"))
