"""The Responses API, by the openai package and by plain requests."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from edgehone.serve.link import Piece
from edgehone.serve.openai.choices import Part
from edgehone.serve.openai.responses import Output
from edgehone.serve.openai.tool_calls import Call
from tests.serve.server import Server

pytestmark = pytest.mark.whole
PATH = "/v1/responses"
PROMPT = "[system] Be short.\n[user] Hello\n[assistant] "
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"enum": ["Bern"]}}, "required": ["city"]},
}


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_the_openai_client_gets_a_response(client: openai.OpenAI) -> None:
    asked: Any = {"model": "bundle", "input": "Hello", "instructions": "Be short.", "max_output_tokens": 12}
    answer = client.responses.create(**asked, metadata={"a": "b"})
    assert answer.status == "incomplete" and answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert len(answer.output_text) == 12 and answer.store is False and answer.metadata == {"a": "b"}
    assert answer.usage is not None and answer.usage.output_tokens == 12
    assert answer.usage.input_tokens == 1 + len(PROMPT)
    chat = client.chat.completions.create(
        model="bundle", max_completion_tokens=12,
        messages=[{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}],
    )  # fmt: skip
    assert chat.choices[0].message.content == answer.output_text


def test_the_events_of_a_stream_come_in_order(client: openai.OpenAI) -> None:
    asked: Any = {"model": "bundle", "input": "Hello", "max_output_tokens": 6}
    whole = client.responses.create(**asked)
    events: list[Any] = list(client.responses.create(**asked, stream=True))
    assert [one.sequence_number for one in events] == list(range(len(events)))
    kinds = [one.type.removeprefix("response.") for one in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    deltas = [one for one in events if one.type == "response.output_text.delta"]
    assert kinds[4:-4] == ["output_text.delta"] * len(deltas) and 1 < len(deltas) <= 6
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "incomplete"]
    assert "".join(one.delta for one in deltas) == events[-4].text == whole.output_text
    assert {one.item_id for one in deltas} == {events[2].item.id} == {events[-1].response.output[0].id}
    assert events[-1].response.usage == whole.usage and events[0].response.usage is None


def test_a_schema_and_log_probabilities(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"const": 7}}, "required": ["n"]}
    form: Any = {"format": {"type": "json_schema", "name": "number", "schema": schema, "strict": True}}
    answer = client.responses.create(
        model="bundle", input="Hello", text=form, include=["message.output_text.logprobs"], top_logprobs=2
    )
    assert answer.status == "completed" and answer.output_text == '{"n":7}'
    with client.responses.stream(model="bundle", input="Hello", text=form) as stream:
        for _ in stream:
            pass
        # The client's own reader, which builds the response from the events.
        assert stream.get_final_response().output_text == answer.output_text
    (item,) = answer.output
    assert item.type == "message" and item.content[0].type == "output_text"
    told = item.content[0].logprobs or []
    assert "".join(one.token for one in told) == '{"n":7}' and len(told[0].top_logprobs) == 2


def test_a_conversation_with_a_function(client: openai.OpenAI, server: Server) -> None:
    asked: Any = {"model": "bundle", "tools": [TOOL]}
    first = client.responses.create(input="Hello", tool_choice="required", **asked)
    (call,) = first.output
    assert call.type == "function_call" and call.name == "weather" and call.arguments == '{"city":"Bern"}'
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "It rains."}
    items: Any = [{"role": "user", "content": "Hello"}, *first.output, result]
    second = client.responses.create(input=items, max_output_tokens=5, **asked)
    assert len(second.output_text) == 5
    events: list[Any] = list(
        client.responses.create(input="Hello", tool_choice="required", stream=True, **asked)
    )
    kinds = [one.type.removeprefix("response.") for one in events]
    calls = ["function_call_arguments.delta", "function_call_arguments.done"]
    assert kinds == ["created", "in_progress", "output_item.added", *calls, "output_item.done", "completed"]
    assert events[3].delta == events[4].arguments == call.arguments
    chat = [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "It rains."},
    ]
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "function_call", "call_id": "1", "name": "weather", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "1",
            "output": [{"type": "input_text", "text": "It rains."}],
        },
    ]
    same = server.post("/v1/chat/completions", {"model": "bundle", "messages": chat, "max_tokens": 3}).json()
    answer = server.post(PATH, {"model": "bundle", "input": items, "max_output_tokens": 3}).json()
    assert answer["usage"]["input_tokens"] == same["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"input": []}, "input", "length >= 1"),
        ({"input": 3}, "input", "input"),
        ({"input": "a", "store": True}, "store", "stores no responses"),
        ({"input": "a", "previous_response_id": "resp_1"}, "previous_response_id", "send the whole input"),
        ({"input": "a", "background": True}, "background", "background"),
        ({"input": "a", "truncation": "auto"}, "truncation", "truncation"),
        ({"input": "a", "reasoning": {"effort": "low"}}, "reasoning", "reasoning"),
        ({"input": "a", "include": ["file_search_call.results"]}, None, "include"),
        ({"input": "a", "top_logprobs": 2}, "top_logprobs", "needs logprobs"),
        ({"input": "a", "tools": [{"type": "web_search"}]}, None, "web_search"),
        ({"input": "a", "tool_choice": "required"}, "tool_choice", "no tools"),
        ({"input": "a", "text": {"format": {"type": "json_schema"}}}, "text", "json_schema"),
        ({"input": [{"type": "reasoning", "summary": []}]}, None, "reasoning"),
        ({"input": [{"role": "user"}]}, "input", "input[0]: a message needs content"),
        ({"input": [{"role": "user", "content": "a", "call_id": "1"}]}, "input", "has no call_id"),
        ({"input": [{"type": "function_call", "call_id": "1"}]}, "input", "needs name"),
        ({"input": [{"type": "function_call_output", "output": "a"}]}, "input", "needs call_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, None, "input_file"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, None, "image_url"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]},
            "input",
            "not a vision-language model",
        ),
        ({"input": "refused"}, "input", "not that"),
        ({"input": "a", "max_output_tokens": 0}, "max_output_tokens", ">= 1"),
    ],
)
def test_requests_that_cannot_be_answered(server: Server, body: Any, field: str | None, said: str) -> None:
    answer = server.post(PATH, {"model": "bundle", **body})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert said in error["message"] and (field is None or error["param"] == field)


def test_text_around_calls_becomes_items_of_its_own() -> None:
    output = Output()
    parts = [
        Part(0, Piece("Let ", 1, None)),
        Part(0, Piece("me.", 1, None), [Call("time", "{}")]),
        Part(0, Piece("", 1, None), [Call("weather", "{}")]),
        Part(0, Piece("Done", 1, "stop")),
    ]
    events = [event for part in parts for event in output.add(part)]
    kinds = [(item["type"], item["status"]) for item in output.items]
    assert kinds == [
        ("message", "completed"),
        *[("function_call", "completed")] * 2,
        ("message", "completed"),
    ]
    assert output.items[0]["content"][0]["text"] == "Let me." and output.tokens == 4
    assert [one["output_index"] for one in events] == sorted(one["output_index"] for one in events)
    added = [one for one in events if one["type"] == "response.output_item.added"]
    done = [one for one in events if one["type"] == "response.output_item.done"]
    assert [one["item"]["id"] for one in added] == [one["item"]["id"] for one in done]
    assert json.dumps(events)


def test_an_empty_answer_is_a_message_without_text() -> None:
    output = Output()
    kinds = [one["type"] for one in output.add(Part(0, Piece("", 0, "stop")))]
    assert kinds[0] == "response.output_item.added" and kinds[-1] == "response.output_item.done"
    assert output.items[0]["content"][0]["text"] == ""
