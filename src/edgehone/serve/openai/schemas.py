"""Limits of the JSON schemas that a request contains: a framework compiles them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edgehone.serve.http import Refused

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


def _too_deep(field: str) -> Refused:
    return Refused(400, f"{field} has a schema that is nested more than {_DEPTH} deep", field=field)
