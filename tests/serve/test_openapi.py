"""/openapi.json, and requests that are generated from it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from edgehone.serve.app import build
from edgehone.serve.live_models import Models
from edgehone.serve.metrics import Metrics
from tests.serve.server import Server

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    answer = server.client.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_it_describes_every_route(server: Server, document: dict[str, Any]) -> None:
    app = build(Models(None, print), [], [], None, Metrics(()), is_local=True)
    routes = {route.path.replace(":path", "") for route in app.routes}  # type: ignore[attr-defined]
    assert routes - {"/openapi.json"} == set(document["paths"])
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path


def test_its_schemas_are_valid_and_fit_what_is_accepted(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["title"] == name
    chat = {"$ref": "#/components/schemas/ChatRequest", **{"components": document["components"]}}
    jsonschema.validate({"model": "bundle", "messages": [{"role": "user", "content": "a"}]}, chat)
    many: tuple[dict[str, Any], ...] = (
        {"foo": 1},
        {"temperature": 101},
        {"messages": []},
        {"n": 0},
        {"tools": [{}]},
    )
    for wrong in many:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(
                {"model": "bundle", "messages": [{"role": "user", "content": "a"}], **wrong}, chat
            )


def test_failures_have_the_form_that_is_stated(server: Server, document: dict[str, Any]) -> None:
    failure = {"$ref": "#/components/schemas/Failure", "components": document["components"]}
    for answer in (server.client.get("/nowhere"), server.post("/v1/completions", b"{")):
        jsonschema.validate(json.loads(answer.text), failure)
