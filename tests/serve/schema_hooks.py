"""Hooks of schemathesis: most generated requests name the model that is served, and ask for few tokens."""

from __future__ import annotations

from typing import Any

import schemathesis

# A request of one of these asks for text, so few new tokens must be said.
_TOKENS = {"messages": "max_tokens", "prompt": "max_tokens", "input": "max_output_tokens"}


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Name the model and limit the tokens of a body that says nothing else, or too much."""
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("model"), str) and len(body["model"]) % 4:
        body = {**body, "model": "bundle"}
    for name, limit in _TOKENS.items():
        given = body.get(limit)
        if name in body and (given is None or (isinstance(given, int) and given > 4)):
            body = {**body, limit: 4}
    if isinstance(body.get("max_completion_tokens"), int):
        body = {**body, "max_completion_tokens": min(4, body["max_completion_tokens"])}
    return body


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Name the model that is served."""
    if isinstance(path_parameters, dict) and len(str(path_parameters.get("name"))) % 4:
        return {**path_parameters, "name": "bundle"}
    return path_parameters
