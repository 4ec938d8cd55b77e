"""/openapi.json, and requests that are generated from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgehone.serve.app import build
from edgehone.serve.live_models import Models
from tests.serve.server import Server
from tests.serve.watching import watching_of

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    answer = server.client.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_it_describes_every_route(server: Server, document: dict[str, Any]) -> None:
    app = build(models := Models(None, print), [], [], None, watching_of(models), is_local=True)
    routes = {route.path.replace(":path", "") for route in app.routes}
    # `edgehone serve` adds the alerts, which it gets from edgehone.monitor.
    assert (routes - {"/openapi.json"}) | {"/alerts"} == set(document["paths"])
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


def fuzz(server: Server, folder: Path, *words: str) -> float:
    """Send generated requests, valid ones and others. Return how many were counted; none may fail with 5xx."""
    before = server.metric("edgehone_requests_total")
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json", "--no-color",
        "--checks", "not_a_server_error", "--seed", "20", "--no-shrink", "--generation-database", "none",
        "--suppress-health-check", "all", "--request-timeout", "60", "--warnings", "off", *words,
    ]  # fmt: skip
    hooks = {"SCHEMATHESIS_HOOKS": "tests.serve.schema_hooks", "PYTHONPATH": str(Path(__file__).parents[2])}
    found = subprocess.run(
        command, cwd=folder, env={**os.environ, **hooks}, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
    assert server.complete("To the ", max_tokens=3)["choices"]
    return server.metric("edgehone_requests_total") - before


def test_generated_requests_do_not_fail_the_server(server: Server, tmp_path: Path) -> None:
    sent = fuzz(server, tmp_path, "--max-examples", "4", "--phases", "examples,fuzzing", "--max-time", "15")
    assert sent > 50


@pytest.mark.long
def test_thousands_of_generated_requests_do_not_fail_the_server(server: Server, tmp_path: Path) -> None:
    sent = 0.0
    for seed in range(20):
        if sent < 5000:
            sent += fuzz(server, tmp_path, "--max-examples", "300", "--seed", str(seed))
    assert sent >= 5000
    answered = server.client.get("/metrics").text
    assert 'status="5' not in answered
