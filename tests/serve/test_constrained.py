"""Schemas in OpenVINO GenAI and ONNX Runtime GenAI: kept, beside requests that they do not change, or refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest

from tests.serve.byte_level import byte_level
from tests.serve.drawn_schemas import drawn
from tests.serve.server import Server, running

PROMPTS = ("The people of the United States", "Congress shall", "We hold these truths", "A")
HELLO: Any = [{"role": "user", "content": "Hello"}]
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


@pytest.mark.parametrize("name", ["openvino", "olive"])
def test_schemas_are_kept_beside_other_requests(
    name: str, bundle_of: Callable[..., Path], demo_model: Path, tmp_path: Path
) -> None:
    bundle = bundle_of(name, model=byte_level(demo_model, tmp_path / "byte-level"))
    with running(bundle, "--max-queue", "64") as server:
        engine = server.engine().pid
        _many(server, random.Random(name), 8)
        _bad_schemas_are_refused(server)
        _clients_of_openai(server)
        assert server.complete(PROMPTS[0], max_tokens=4)["choices"][0]["text"]
        assert server.engine().pid == engine and server.metric("edgehone_engine_restarts") == 0


@pytest.mark.long
@pytest.mark.parametrize("name", ["openvino", "olive"])
def test_hundreds_of_schemas_beside_other_requests(
    name: str, bundle_of: Callable[..., Path], demo_model: Path, tmp_path: Path
) -> None:
    bundle = bundle_of(name, model=byte_level(demo_model, tmp_path / "byte-level"))
    with running(bundle, "--max-queue", "64") as server:
        engine, source = server.engine().pid, random.Random(name)
        for _ in range(30):
            _many(server, source, 16)
        assert server.engine().pid == engine


def _many(server: Server, source: random.Random, count: int) -> None:
    """Ask for so many values of drawn schemas and for plain texts at the same time."""
    schemas = [drawn(source, 3) for _ in range(count)]
    alone = [server.complete(prompt, max_tokens=48)["choices"][0]["text"] for prompt in PROMPTS]
    with ThreadPoolExecutor(count + len(PROMPTS)) as pool:
        held = [pool.submit(value, server, schema, seed) for seed, schema in enumerate(schemas)]
        texts = list(pool.map(lambda prompt: server.complete(prompt, max_tokens=48), PROMPTS))
        assert [one["choices"][0]["text"] for one in texts] == alone
        ended = [one.result() for one in held]
    assert "stop" in ended, ended


def value(server: Server, schema: Any, seed: int) -> str:
    """Ask for a value of a schema. Returns why it ended; one that is complete satisfies the schema."""
    form = {"type": "json_schema", "json_schema": {"name": "drawn", "schema": schema}}
    asked = {
        "messages": [{"role": "user", "content": PROMPTS[seed % 4]}],
        "max_tokens": 200,
        "response_format": form,
    }
    asked["temperature"] = 0.5 + seed % 3
    answer = server.post("/v1/chat/completions", {"model": "bundle", **asked})
    assert answer.status_code == 200, answer.text
    (choice,) = answer.json()["choices"]
    if choice["finish_reason"] == "stop":
        text = choice["message"]["content"]
        try:
            jsonschema.validate(json.loads(text), schema)
        except ValueError as error:
            raise AssertionError(f"{text!r} of {json.dumps(schema)}, {answer.json()}") from error
    return str(choice["finish_reason"])


def _bad_schemas_are_refused(server: Server) -> None:
    recursive = {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}}
    bad: tuple[Any, ...] = (
        {"type": "nothing"}, {"$ref": "#/none"}, {"type": "string", "pattern": "("}, {"enum": []}, recursive,
        {"type": "integer", "minimum": 5, "maximum": 3}, {"type": "string", "minLength": 100_000},
        {"if": {"type": "string"}, "then": {"minLength": 3}}, {"enum": [f"x{at}" for at in range(5_000)]},
        {"type": "string", "pattern": "^(a|b|.){1,500}(.{1,500}){1,50}$"},
    )  # fmt: skip
    for schema in bad:
        form = {"type": "json_schema", "json_schema": {"name": "bad", "schema": schema}}
        asked = {"model": "bundle", "messages": HELLO, "response_format": form}
        answer = server.post("/v1/chat/completions", asked)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"].startswith("response_format: in the schema, /"), answer.text


def _clients_of_openai(server: Server) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    city = {
        "type": "object",
        "properties": {"city": {"enum": ["Bern", "Zürich", "<s>"]}},
        "required": ["city"],
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": city, "strict": True}}
    asked: Any = {"model": "bundle", "messages": HELLO}
    (choice,) = client.chat.completions.create(**asked, response_format=form).choices
    assert choice.finish_reason == "stop" and choice.message.content
    jsonschema.validate(json.loads(choice.message.content), city)
    stream = client.chat.completions.create(**asked, response_format=form, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in stream) == choice.message.content
    (cut,) = client.chat.completions.create(**asked, response_format=form, max_completion_tokens=3).choices
    assert cut.finish_reason == "length" and choice.message.content.startswith(cut.message.content or "-")
    written: Any = {"format": {"type": "json_schema", "name": "city", "schema": city}}
    response = client.responses.create(model="bundle", input="Hello", text=written)
    jsonschema.validate(json.loads(response.output_text), city)
    tools: Any = [
        {"type": "function", "function": {"name": "weather", "parameters": city}},
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    ]
    named: Any = {"type": "function", "function": {"name": "weather"}}
    (choice,) = client.chat.completions.create(**asked, tools=tools, tool_choice=named).choices
    assert choice.message.tool_calls
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "weather"
    jsonschema.validate(json.loads(call.function.arguments), city)
