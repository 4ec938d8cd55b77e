"""What can be asked of the server: each operation is a route and an entry of /openapi.json, so that neither lacks one.

A group of routes states its operations:

    Operation("POST", "/v1/completions", self.completions, body=CompletionRequest, streams=True)

The first line of the handler's docstring is the summary. The schema of the body is generated from the struct that
decodes it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgehone.serve.http import Failure

Handler = Callable[[Request], Awaitable[Response]]
_PARAMETER = re.compile(r"\{(\w+)(:\w+)?\}")
# What any operation that needs a key or an engine may answer instead.
_REFUSALS: Mapping[int, str] = {
    400: "The request cannot be answered.",
    401: "No valid key was given.",
    403: "The page of another site asks a server without keys.",
    404: "There is no such model.",
    408: "The request came too slowly.",
    413: "The body is too large.",
    429: "Too many requests wait.",
    503: "The engine is not ready, or failed.",
    504: "The request was not answered within the longest time.",
}


@dataclass(frozen=True)
class Operation:
    """A method and a path with the function that answers.

    `path` is Starlette's, `body` the struct of a JSON body, `media` the media type of the answer; `streams`: the answer
    may be a stream of events; `guarded`: it needs a key, if the server has keys; `own_key`: another one, in any case.
    `failure` is the struct of an answer that says what is wrong; `contents` are further media types of the body with
    their schemas, `answers` further statuses with what they mean.
    """

    method: str
    path: str
    handler: Handler
    body: type[msgspec.Struct] | None = None
    media: str = "application/json"
    streams: bool = False
    guarded: bool = True
    own_key: bool = False
    failure: type[msgspec.Struct] = Failure
    contents: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[int, str] = field(default_factory=dict)


def document(operations: Sequence[Operation], version: str, *, keys: bool) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of operations; `keys`: the server has keys."""
    structs = [*(one.body for one in operations if one.body), *(one.failure for one in operations)]
    references, components = msgspec.json.schema_components(
        structs, ref_template="#/components/schemas/{name}"
    )
    schema_of = dict(zip(structs, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        path = _PARAMETER.sub(r"{\1}", one.path)
        paths.setdefault(path, {})[one.method.lower()] = _described(one, schema_of, keys=keys)
    secured = keys or any(one.own_key for one in operations)
    security = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if secured else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "edgehone serve", "version": version},
        "paths": paths,
        "components": {"schemas": components, **security},
    }


def _described(one: Operation, schema_of: Mapping[Any, Any], *, keys: bool) -> dict[str, Any]:
    name = re.sub(r"\W+", "_", f"{one.method.lower()}{one.path}").strip("_")
    summary = (one.handler.__doc__ or "").strip().partition("\n")[0]
    found: dict[str, Any] = {"operationId": name, "summary": summary}
    if names := [match[1] for match in _PARAMETER.finditer(one.path)]:
        found["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    contents = {"application/json": {"schema": schema_of[one.body]}} if one.body else {}
    contents |= one.contents
    if contents:
        found["requestBody"] = {"required": True, "content": contents}
    answer = {
        one.media: {"schema": {"type": "object"} if one.media == "application/json" else {"type": "string"}}
    }
    if one.streams:
        answer["text/event-stream"] = {"schema": {"type": "string"}}
    found["responses"] = {"200": {"description": "The answer.", "content": answer}}
    if one.guarded:
        problem = {"application/json": {"schema": schema_of[one.failure]}}
        for status, text in sorted({**_REFUSALS, **one.answers}.items()):
            found["responses"][str(status)] = {"description": text, "content": problem}
        found |= {"security": [{"key": []}]} if keys or one.own_key else {}
    else:
        for status, text in sorted(one.answers.items()):
            found["responses"][str(status)] = {"description": text, "content": answer}
    return found
