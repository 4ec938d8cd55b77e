"""Find out whether an engine can hold its text to a plain JSON schema, before it takes requests (worker side).

A runtime reads the vocabulary by itself. Where it reads an entry otherwise than the text is decoded, what it generates
is no JSON. So an engine must first write a text that a schema states.
"""

from __future__ import annotations

import json
import traceback
from typing import Any

from edgehone.backends.serving import ConstrainedEngine, EngineRequest
from edgehone.worker.text import Text

# No request of the server has this number.
_NUMBER = 1 << 40
# It has a space within a text and before a full stop, and characters that are written as escapes.
_VALUE = {'a b .\n"é': -1}
_SCHEMA: dict[str, Any] = {
    "type": "object", "properties": {name: {"enum": [value]} for name, value in _VALUE.items()},
    "required": [*_VALUE], "additionalProperties": False,
}  # fmt: skip
# A token a byte, at most.
_MOST = 64


def constrain(engine: ConstrainedEngine, text: Text) -> str | None:
    """Let an engine take plain schemas if it writes what one states. Return why it does not; None if it does."""
    if (entries := text.entries()) is None:
        return "the bundle has no tokenizer.json whose tokens make up the text one by one"
    if problem := engine.constrain(entries):
        return problem
    try:
        written = _written(engine, text)
        if _value(written) == _VALUE:
            return None
        problem = f"it wrote {written!r}, not {json.dumps(_VALUE)}"
    except Exception as error:  # noqa: BLE001 - frameworks raise any type; the engine then goes on without schemas
        traceback.print_exc()
        problem = f"{type(error).__name__}: {error}"
    engine.free()
    return problem


def _value(written: str) -> Any:
    try:
        return json.loads(written)
    except ValueError:
        return None


def _written(engine: ConstrainedEngine, text: Text) -> str:
    """Return the text that the engine writes for the schema."""
    engine.add(EngineRequest(_NUMBER, [0], _MOST, frozenset(), {"plain_json_schema": _SCHEMA}))
    ids: list[int] = []
    while engine.busy:
        for one in engine.step():
            ids += one.ids
            if one.error:
                raise RuntimeError(one.error)
    return text.decode(ids)
