"""Tools: calls that a schema enforces, calls that a model writes by itself, and their results in the conversation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2  # which openai uses
import openai
import pytest

from edgehone.bundle import read
from edgehone.serve.app import build
from edgehone.serve.link import Piece
from edgehone.serve.live_models import Models
from edgehone.serve.model import LanguageModel
from edgehone.serve.models import read_served
from edgehone.serve.served import Limits, ServedLanguage
from edgehone.worker.chat_template import takes
from tests.finished import Finished
from tests.serve.server import Server
from tests.serve.watching import watching_of

pytestmark = pytest.mark.whole
HELLO: Any = [{"role": "user", "content": "Hello"}]
CITY = {"type": "object", "properties": {"city": {"$ref": "#/$defs/city"}}, "required": ["city"]}
CITY |= {"$defs": {"city": {"enum": ["Bern", "Genf"]}}}
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": CITY}},
    {"type": "function", "function": {"name": "time"}},
]
NAMED: Any = {"type": "function", "function": {"name": "time"}}


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_a_call_that_is_required(client: openai.OpenAI) -> None:
    asked: Any = {"model": "bundle", "messages": HELLO, "tools": TOOLS}
    (choice,) = client.chat.completions.create(**asked, tool_choice="required").choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "Bern"}
    (named,) = client.chat.completions.create(**asked, tool_choice=NAMED).choices
    assert named.finish_reason == "stop" and named.message.tool_calls is not None
    assert [(one.function.name, one.function.arguments) for one in named.message.tool_calls] == [
        ("time", "{}")
    ]
    streamed = list(client.chat.completions.create(**asked, tool_choice="required", stream=True))
    calls = [one for part in streamed for one in part.choices[0].delta.tool_calls or ()]
    assert [(one.index, one.function and one.function.name) for one in calls] == [(0, "weather")]
    assert not any(part.choices[0].delta.content for part in streamed)
    assert streamed[-1].choices[0].finish_reason == "tool_calls"


def test_calls_and_results_come_back_in_the_conversation(client: openai.OpenAI) -> None:
    asked: Any = {"model": "bundle", "tools": TOOLS, "max_completion_tokens": 5}
    (choice,) = client.chat.completions.create(
        messages=HELLO, tool_choice="required", **asked | {"max_completion_tokens": 90}
    ).choices
    assert choice.message.tool_calls is not None
    result: Any = {"role": "tool", "tool_call_id": choice.message.tool_calls[0].id, "content": "It rains."}
    before = client.chat.completions.create(messages=HELLO, **asked)
    told: Any = [*HELLO, choice.message, result]
    after = client.chat.completions.create(messages=told, **asked)
    assert before.usage is not None and after.usage is not None
    call = '{"arguments": {"city": "Bern"}, "name": "weather"}'
    more = f"[assistant] <tool_call>{call}</tool_call>\n[tool] It rains.\n"
    assert after.usage.prompt_tokens - before.usage.prompt_tokens == len(more)
    assert after.choices[0].finish_reason == "length" and after.choices[0].message.content
    without = client.chat.completions.create(messages=HELLO, tool_choice="none", **asked)
    assert without.usage is not None and without.usage.prompt_tokens == 1 + len("[user] Hello\n[assistant] ")


PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
STRICT = (
    "{% for m in messages %}{% if m.role not in ('user', 'assistant') %}{{ raise_exception('no') }}{% endif %}"
    "{{ m.content }}{% endfor %}"
)
HERMES = (
    "{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}{% for m in messages %}{{ m.content }}"
    "{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "tools", "calls"),
    [
        (PLAIN, False, False),
        (STRICT, False, False),
        (HERMES, True, True),
        (HERMES.replace("t | tojson", "1"), False, True),
    ],
)
def test_what_a_template_takes(template: str, tools: bool, calls: bool) -> None:
    assert takes(template, {}) == {"tools": tools, "calls": calls}


class Scripted:
    """An engine that answers with a text, a byte at a time."""

    options = frozenset({"temperature"})
    without: Mapping[str, str] = {}
    context = problem = proof = None
    restarts = 0

    def __init__(self, text: str, *more: str) -> None:
        self._text, self.options = text.encode(), self.options | set(more)
        self.told, self.asked = 0, list[Any]()

    async def end(self) -> None: ...

    async def answer(
        self, ids: Sequence[int], picture: None, count: int, options: Any, stops: Any, deadline: float
    ) -> AsyncIterator[Piece]:
        self.asked.append(options)
        for at, byte in enumerate(self._text, 1):
            self.told += 1
            yield Piece(chr(byte), 1, "stop" if at == len(self._text) else None)


def answered(bundle: Path, text: str, *options: str, **asked: Any) -> tuple[Any, list[Any], Scripted]:
    """Return the whole and the streamed answer of a model that writes this text, and its engine.

    The engine has further options. `told` is how much of the text was read for the whole answer.
    """

    async def ask() -> tuple[Any, list[Any], Scripted]:
        served = read_served(read(bundle), "bundle", Limits(2, 2), print)
        assert isinstance(served, ServedLanguage)
        model = LanguageModel(served, print)
        engine = Scripted(text, *options)
        model.engine = engine  # type: ignore[assignment]
        models = Models(None, print)
        models._models["bundle"] = model  # as `start` does, without an engine
        app = build(models, [], [], None, watching_of(models), is_local=False)
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://server/v1") as http:
            client = openai.AsyncOpenAI(
                base_url="http://server/v1", api_key="none", http_client=http, max_retries=0
            )
            body: Any = {"model": "bundle", "messages": HELLO, "tools": TOOLS, **asked}
            whole = (await client.chat.completions.create(**body)).choices[0]
            told, engine.told = engine.told, 0
            stream = await client.chat.completions.create(**body, stream=True)
            parts = [part.choices[0] async for part in stream]
        await model.end()
        engine.told = told
        return whole, parts, engine

    return asyncio.run(ask())


WEATHER = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
TIME = '<tool_call>{"name": "time", "arguments": {}}</tool_call>'


@pytest.mark.usefixtures("finished")
def test_calls_that_a_model_writes(chatty: Path, finished: Finished) -> None:
    whole, parts, _ = answered(chatty, f"Let me see.\n{WEATHER}\n{TIME}")
    assert whole.finish_reason == "tool_calls" and whole.message.content == "Let me see.\n"
    called = [(call.function.name, json.loads(call.function.arguments)) for call in whole.message.tool_calls]
    assert called == [("weather", {"city": "Bern"}), ("time", {})]
    assert len({call.id for call in whole.message.tool_calls}) == 2
    assert "".join(part.delta.content or "" for part in parts) == "Let me see.\n"
    calls = [call for part in parts for call in part.delta.tool_calls or ()]
    assert [(call.index, call.function.name) for call in calls] == [(0, "weather"), (1, "time")]
    assert parts[-1].finish_reason == "tool_calls"


@pytest.mark.usefixtures("finished")
def test_one_call_ends_an_answer_without_parallel_calls(chatty: Path) -> None:
    whole, _, engine = answered(chatty, WEATHER + TIME, parallel_tool_calls=False)
    assert [call.function.name for call in whole.message.tool_calls] == ["weather"]
    assert whole.finish_reason == "tool_calls" and engine.told == len(WEATHER)
    text, _, _ = answered(chatty, "No call <tool_", parallel_tool_calls=False)
    assert text.message.content == "No call <tool_" and text.finish_reason == "stop"
    with pytest.raises(
        openai.BadRequestError, match="tool_choice is not supported by null; it may be auto or none"
    ):
        answered(chatty, "a", tool_choice="required")


@pytest.mark.usefixtures("finished")
def test_an_engine_for_plain_schemas_gets_no_other(chatty: Path) -> None:
    plain = "plain_json_schema"
    _, _, engine = answered(chatty, TIME, plain, tool_choice="required")
    city = {
        "type": "object", "properties": {"city": {"enum": ["Bern", "Genf"]}}, "required": ["city"],
        "additionalProperties": False,
    }  # fmt: skip
    calls = {"weather": city, "time": {"type": "object", "additionalProperties": {}}}
    wanted = [
        {
            "type": "object", "properties": {"name": {"enum": [name]}, "arguments": arguments},
            "required": ["name", "arguments"], "additionalProperties": False,
        }
        for name, arguments in calls.items()
    ]  # fmt: skip
    assert [one[plain] for one in engine.asked] == 2 * [{"anyOf": wanted}]
    form: Any = {"type": "json_object"}
    _, _, engine = answered(chatty, "{}", plain, tools=[], response_format=form)
    assert [one[plain] for one in engine.asked] == 2 * [{"type": "object", "additionalProperties": {}}]


@pytest.mark.usefixtures("finished")
def test_a_schema_without_a_plain_form_is_refused_by_its_keyword(chatty: Path) -> None:
    plain, dated = (
        "plain_json_schema",
        {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}},
    )
    form: Any = {"type": "json_schema", "json_schema": {"name": "day", "schema": dated}}
    told = '/properties/day/format is "date": not supported beside "type". null takes type, properties, '
    with pytest.raises(openai.BadRequestError) as caught:
        answered(chatty, "{}", plain, tools=[], response_format=form)
    assert caught.value.param == "response_format"
    assert f"response_format: in the schema, {told}" in caught.value.message
    assert "serve a bundle of llamacpp for more" in caught.value.message
    tools: Any = [{"type": "function", "function": {"name": "on", "parameters": dated}}]
    with pytest.raises(openai.BadRequestError) as caught:
        answered(chatty, "{}", plain, tools=tools, tool_choice="required")
    assert caught.value.param == "tools" and f"tools: in the schema of on, {told}" in caught.value.message
    many: Any = [
        {"type": "function", "function": {"name": f"f{at}", "parameters": {"enum": list(range(50))}}}
        for at in range(9)
    ]
    with pytest.raises(openai.BadRequestError, match=r"in the schema of all tools, .* more than 128 values"):
        answered(chatty, "{}", plain, tools=many, tool_choice="required")
