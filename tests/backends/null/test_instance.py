"""What the null engine writes satisfies the schema."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from edgehone.backends.null.instance import smallest
from edgehone.core.errors import InputError

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "age": {"type": "integer", "minimum": 3},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
        "other": {"type": "null"},
    },
    "required": ["name", "age", "tags"],
    "$defs": {"tag": {"enum": ["a", "b"]}},
}


@pytest.mark.parametrize(
    "schema",
    [
        PERSON,
        {"const": {"a": [1]}},
        {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        {"type": ["number", "null"]},
        {},
    ],
)
def test_the_smallest_value_satisfies_the_schema(schema: dict[str, Any]) -> None:
    jsonschema.validate(smallest(schema), schema)


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "#"}, {"type": "string", "pattern": "x"}, {"$ref": "#/none"}, 1]
)
def test_other_schemas_are_refused(schema: Any) -> None:
    with pytest.raises(InputError, match="does not know"):
        smallest(schema)
