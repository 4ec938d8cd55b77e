"""The JSON schemas that a request contains: their limits, and the options by which an engine keeps to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edgehone.core.errors import InputError
from edgehone.serve.http import Refused
from edgehone.serve.model import LanguageModel
from edgehone.serve.openai.plain_schemas import KEYWORDS, bounds_of, plain

_DEPTH, _BYTES = 64, 64 << 10


def check_schema(schema: Mapping[str, Any], field: str) -> None:
    """Raise Refused for a schema that is nested too deeply or too long."""
    try:
        size = len(msgspec.json.encode(schema))
    except RecursionError:
        raise _too_deep(field) from None
    if size > _BYTES:
        raise Refused(400, f"{field} has a schema of {size} bytes; at most {_BYTES} may be", field=field)
    level: list[Any] = [schema]
    for _ in range(_DEPTH):
        level = [
            one
            for value in level
            for one in (value.values() if isinstance(value, dict) else value)
            if isinstance(one, dict | list)
        ]
        if not level:
            return
    raise _too_deep(field)


def schema_option(model: LanguageModel) -> str | None:
    """Return the option by which the engine takes a schema: any schema, a plain one, or None for neither."""
    return next((name for name in ("json_schema", "plain_json_schema") if name in model.engine.options), None)


def check_held(model: LanguageModel, field: str, instead: str) -> None:
    """Raise Refused, with what to do `instead`, if the engine cannot keep to a schema."""
    if schema_option(model) is None:
        reason = model.engine.without.get("plain_json_schema")
        because = f" with this model: {reason}" if reason else ""
        raise Refused(400, f"{field} is not supported by {backend(model)}{because}; {instead}", field=field)


def held(schema: Mapping[str, Any], model: LanguageModel, field: str, of: str = "") -> Mapping[str, Any]:
    """Return a schema as the engine of a model takes it; `of` says whose it is. Raises Refused for what it does not."""
    if schema_option(model) != "plain_json_schema":
        return schema
    try:
        return plain(schema, bounds_of(str(model.served.bundle.manifest.recipe["backend"])))
    except InputError as error:
        raise Refused(
            400,
            f"{field}: in the schema{of}, {error.message}. {backend(model)} takes {KEYWORDS}; "
            "serve a bundle of llamacpp for more",
            field=field,
        ) from None


def backend(model: LanguageModel) -> str:
    """Return the name of a model's backend, for a refusal."""
    name = str(model.served.bundle.manifest.recipe["backend"])
    return name if model.served.pictures is None else f"{name} for vision-language models"


def _too_deep(field: str) -> Refused:
    return Refused(400, f"{field} has a schema that is nested more than {_DEPTH} deep", field=field)
