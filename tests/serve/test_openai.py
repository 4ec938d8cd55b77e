"""The OpenAI API, by the openai package and by plain requests."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import openai
import pydantic  # which openai uses
import pytest

from edgehone.bundle import read
from edgehone.inference.run_bundle import generate
from tests.finished import Finished
from tests.serve.server import Server, running, wait_for

# A server is started, which takes as long as several runs on the null backend.
pytestmark = pytest.mark.whole
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_the_openai_client_chats(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="bundle", messages=HELLO, max_completion_tokens=12)
    (choice,) = answer.choices
    assert choice.finish_reason == "length" and choice.message.role == "assistant"
    assert answer.usage is not None and answer.usage.completion_tokens == 12
    assert answer.usage.prompt_tokens == 1 + len("[user] Hello\n[assistant] ")  # null adds a BOS by itself
    parts = list(
        client.chat.completions.create(
            model="bundle", messages=HELLO, max_completion_tokens=12, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    assert (
        "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        == choice.message.content
    )
    assert parts[0].choices[0].delta.role == "assistant"
    assert parts[-2].choices[0].finish_reason == "length"
    assert parts[-1].usage == answer.usage
    assert len({part.id for part in parts}) == 1


def test_the_openai_client_completes_and_lists(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="bundle", prompt=["To the ", "We "], max_tokens=6)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(len(choice.text) == 6 for choice in answer.choices)
    parts = client.completions.create(model="bundle", prompt="To the ", max_tokens=6, stream=True)
    assert "".join(part.choices[0].text for part in parts) == answer.choices[0].text
    assert [one.id for one in client.models.list()] == ["bundle"]
    assert client.models.retrieve("bundle").owned_by == "edgehone"


def test_choices(client: openai.OpenAI) -> None:
    asked: Any = {
        "model": "bundle",
        "messages": HELLO,
        "n": 3,
        "max_completion_tokens": 20,
        "temperature": 1.0,
    }
    whole = client.chat.completions.create(**asked, seed=3)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 3
    assert whole.usage is not None and whole.usage.completion_tokens == 60
    assert whole.usage.prompt_tokens == 1 + len("[user] Hello\n[assistant] ")
    streamed, ends = ["", "", ""], [0, 0, 0]
    for part in client.chat.completions.create(**asked, seed=3, stream=True):
        for choice in part.choices:
            streamed[choice.index] += choice.delta.content or ""
            ends[choice.index] += choice.finish_reason == "length"
    assert streamed == texts and ends == [1, 1, 1]
    one = client.chat.completions.create(**{**asked, "n": 1}, seed=4)
    assert one.choices[0].message.content == texts[1]


def test_several_prompts_are_streamed_with_their_index(client: openai.OpenAI) -> None:
    asked: Any = {"model": "bundle", "prompt": ["To the ", "Congress"], "n": 2, "max_tokens": 9}
    whole = client.completions.create(**asked).choices
    streamed = ["", "", "", ""]
    for part in client.completions.create(**asked, stream=True):
        for choice in part.choices:
            streamed[choice.index] += choice.text
    assert [choice.text for choice in whole] == streamed
    assert streamed[0] == streamed[1] != streamed[2] == streamed[3]


def test_prompts_are_echoed(client: openai.OpenAI) -> None:
    alone = client.completions.create(model="bundle", prompt="To the ", max_tokens=9).choices[0].text
    prompts: Any = ["To the ", "Thé "]
    for asked in (prompts, [list(b"To the "), list("Thé ".encode())]):
        whole = client.completions.create(model="bundle", prompt=asked, max_tokens=9, n=2, echo=True)
        texts = [choice.text for choice in whole.choices]
        assert texts[0] == texts[1] == f"To the {alone}" and texts[2].startswith("Thé ")
        assert whole.usage is not None and whole.usage.completion_tokens == 36
    stream = client.completions.create(model="bundle", prompt=prompts, max_tokens=9, echo=True, stream=True)
    parts: dict[int, str] = {0: "", 1: ""}
    for part in stream:
        parts[part.choices[0].index] += part.choices[0].text
    assert parts == {0: texts[0], 1: texts[2]}


def test_each_choice_takes_a_place(chatty: Path) -> None:
    body = {"model": "bundle", "prompt": "To the ", "n": 4, "max_tokens": 400}
    with running(chatty, "--parallel", "2", "--max-queue", "3") as own, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(own.post, TEXT, body)
        wait_for(lambda: own.metric("edgehone_running_requests") == 2)
        assert own.metric("edgehone_waiting_requests") == 2
        refused = own.post(TEXT, {**body, "n": 2})
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert own.metric("edgehone_waiting_requests") == 2
        assert own.post(TEXT, {**body, "n": 1, "max_tokens": 3}).status_code == 200
        assert len(answer.result(60).json()["choices"]) == 4
        assert own.metric("edgehone_waiting_requests") == own.metric("edgehone_running_requests") == 0


def test_logprobs_of_a_chat(client: openai.OpenAI) -> None:
    asked: Any = {"model": "bundle", "messages": HELLO, "max_completion_tokens": 12, "logprobs": True}
    choice = client.chat.completions.create(**asked, top_logprobs=3).choices[0]
    assert choice.logprobs is not None and choice.logprobs.content is not None
    entries = choice.logprobs.content
    assert "".join(one.token for one in entries) == choice.message.content
    for one in entries:
        assert bytes(one.bytes or ()) == one.token.encode() and one.logprob < 0
        assert len(one.top_logprobs) == 3 and one.top_logprobs[0].logprob == one.logprob  # greedy
        assert 0 < sum(math.exp(other.logprob) for other in one.top_logprobs) <= 1
    streamed = [
        entry
        for part in client.chat.completions.create(**asked, top_logprobs=3, stream=True)
        for entry in (part.choices[0].logprobs.content if part.choices[0].logprobs else None) or ()
    ]
    assert streamed == entries
    alone = client.chat.completions.create(**asked).choices[0].logprobs
    assert alone is not None and alone.content is not None
    assert [one.logprob for one in alone.content] == [one.logprob for one in entries]
    assert not any(one.top_logprobs for one in alone.content)


def test_logprobs_of_completions(client: openai.OpenAI) -> None:
    asked: Any = {"model": "bundle", "prompt": "To the ", "max_tokens": 8, "temperature": 1.0, "seed": 5}
    choice = client.completions.create(**asked, logprobs=2).choices[0]
    told = choice.logprobs
    assert told is not None and told.tokens is not None and told.top_logprobs and told.token_logprobs
    assert "".join(told.tokens) == choice.text and told.text_offset == list(range(8))
    for token, logprob, top in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True):
        assert top[token] == logprob and 2 <= len(top) <= 3
    offsets: list[int] = []
    for part in client.completions.create(**asked, logprobs=2, stream=True):
        offsets += (part.choices[0].logprobs and part.choices[0].logprobs.text_offset) or []
    assert offsets == told.text_offset
    assert client.completions.create(**asked).choices[0].logprobs is None


def test_logprobs_end_before_a_stop_string(server: Server) -> None:
    whole = server.complete("To the ", max_tokens=30, logprobs=0)["choices"][0]
    stop = whole["text"][5:9]
    (choice,) = server.complete("To the ", max_tokens=30, stop=stop, logprobs=0)["choices"]
    size = len(choice["text"])
    assert choice["logprobs"]["tokens"] == whole["logprobs"]["tokens"][:size]


def test_a_schema_is_kept(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema}}
    asked: Any = {"model": "bundle", "messages": HELLO, "response_format": form}
    (choice,) = client.chat.completions.create(**asked).choices
    assert choice.message.content == '{"n":3}' and choice.finish_reason == "stop"
    form["json_schema"]["schema"] = {"type": "nonsense"}
    with pytest.raises(openai.BadRequestError, match="does not know the JSON schema"):
        client.chat.completions.create(**asked)


def test_events_are_padded_if_asked(server: Server) -> None:
    asked = {"model": "bundle", "messages": HELLO, "max_tokens": 20}
    plain = server.events(CHAT, asked)
    padded = server.events(CHAT, {**asked, "stream_options": {"include_obfuscation": True}})
    assert "obfuscation" not in plain[0] and "obfuscation" in padded[0]
    assert {len(one) % 64 for one in padded[:-1]} == {0}


def test_errors_are_those_that_the_openai_client_knows(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there is no model 'other'; served: bundle"):
        client.completions.create(model="other", prompt="a")
    with pytest.raises(openai.BadRequestError, match="min_p is not supported by null"):
        client.completions.create(model="bundle", prompt="a", extra_body={"min_p": 0.1})


def test_served_answers_are_those_of_run(server: Server, finished: Finished) -> None:
    bundle = read(finished.bundle)
    for prompt in ("To the ", "We have ", "é"):
        ran = generate(bundle, prompt, 24, raw=True, quiet=True)
        (choice,) = server.complete(prompt, max_tokens=24)["choices"]
        assert choice["text"] == ran["text"]


def test_ids_and_text_are_the_same_prompt(server: Server) -> None:
    by_text = server.complete("To the ", max_tokens=8)["choices"]
    assert server.complete([256, *b"To the "], max_tokens=8)["choices"] == by_text


def test_a_stop_string_ends_the_text_before_it(server: Server) -> None:
    whole = server.complete("To the ", max_tokens=30)["choices"][0]["text"]
    stop = whole[5:9]
    cut = whole[: whole.index(stop)]
    (choice,) = server.complete("To the ", max_tokens=30, stop=[stop, "never"])["choices"]
    assert choice["text"] == cut and choice["finish_reason"] == "stop"
    events = server.events(
        "/v1/completions", {"model": "bundle", "prompt": "To the ", "max_tokens": 30, "stop": stop}
    )
    assert events[-1] == "[DONE]"
    assert "".join(json.loads(one)["choices"][0]["text"] for one in events[:-1]) == cut


def test_a_seed_makes_drawing_repeatable(server: Server) -> None:
    asked = {"max_tokens": 40, "temperature": 1.0, "seed": 7}
    first, second = (server.complete("To the ", **asked)["choices"][0]["text"] for _ in range(2))
    other = server.complete("To the ", **{**asked, "seed": 8})["choices"][0]["text"]
    assert first == second != other


CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
TOOL = {"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "other"}}
OBJECT = {"type": "json_object"}
CALL = {"id": "1", "type": "function", "function": {"name": "time", "arguments": "{}"}}
BAD = {"id": "1", "type": "function", "function": {"name": "time", "arguments": "[1]"}}
NESTED: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "deep", "schema": {}}}
for _ in range(70):
    NESTED["json_schema"]["schema"] = {"items": NESTED["json_schema"]["schema"]}
DEEP = b'{"model": "bundle", "prompt": "a", "logit_bias": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (TEXT, b"", 400, "truncated"),
        (TEXT, b"{", 400, "truncated"),
        (TEXT, b"\xff\xfe{}", 400, "JSON"),
        (TEXT, b'{"model": "bundle", "prompt": "\xff"}', 400, "UTF-8"),
        (TEXT, DEEP, 400, ""),
        (TEXT, [], 400, "object"),
        (TEXT, {"prompt": "a"}, 400, "model"),
        (TEXT, {"model": "bundle"}, 400, "prompt"),
        (TEXT, {"model": "bundle", "prompt": ""}, 400, "prompt is empty"),
        (TEXT, {"model": "bundle", "prompt": []}, 400, "prompt is empty"),
        (TEXT, {"model": "bundle", "prompt": ["a", ""]}, 400, "prompt is empty"),
        (TEXT, {"model": "bundle", "prompt": ["a", [1]]}, 400, "mixture"),
        (TEXT, {"model": "bundle", "prompt": ["a"] * 65}, 400, "at most 64"),
        (TEXT, {"model": "bundle", "prompt": ["a", "b"], "n": 37}, 400, "asks for 74 choices; at most 10 fit"),
        (TEXT, {"model": "bundle", "prompt": "a", "n": 0}, 400, "at `$.n`; it is 0"),
        (TEXT, {"model": "bundle", "prompt": "a", "best_of": 2}, 400, "best_of is 2"),
        (TEXT, {"model": "bundle", "prompt": [257]}, 400, "token id 257 is outside the vocabulary"),
        (TEXT, {"model": "bundle", "prompt": [-1]}, 400, "token id -1 is outside the vocabulary"),
        (TEXT, {"model": "bundle", "prompt": "a" * 5000}, 400, "5001 tokens; at most 4096 fit"),
        (TEXT, {"model": "bundle", "prompt": "a", "max_tokens": 0}, 400, ">= 1 - at `$.max_tokens`; it is 0"),
        (TEXT, {"model": "bundle", "prompt": "a", "max_tokens": 1.5}, 400, "max_tokens"),
        (TEXT, {"model": "bundle", "prompt": "a", "temperature": -1}, 400, "at `$.temperature`; it is -1"),
        (TEXT, b'{"model": "bundle", "prompt": "a", "temperature": NaN}', 400, ""),
        (TEXT, {"model": "bundle", "prompt": "a", "logprobs": 6}, 400, "at `$.logprobs`; it is 6"),
        (TEXT, {"model": "bundle", "prompt": "a", "logprobs": True}, 400, "logprobs"),
        (CHAT, {"model": "bundle", "messages": HELLO, "top_logprobs": 2}, 400, "needs logprobs"),
        (CHAT, {"model": "bundle", "messages": HELLO, "logprobs": True, "top_logprobs": 21}, 400, "it is 21"),
        (TEXT, {"model": "bundle", "prompt": "a", "echo": True, "logprobs": 1}, 400, "echo and logprobs exclude"),
        (TEXT, {"model": "bundle", "prompt": "a", "stop": ["x"] * 17}, 400, "length <= 16"),
        (TEXT, {"model": "bundle", "prompt": "a", "foo": 1}, 400, "foo"),
        (TEXT, {"model": "x" * 5000, "prompt": "a"}, 404, "there is no model"),
        (CHAT, {"model": "bundle", "messages": []}, 400, "length >= 1"),
        (CHAT, {"model": "bundle", "messages": [{"role": "king", "content": "a"}]}, 400, "king"),
        (CHAT, {"model": "bundle", "messages": [{"role": "user", "content": [{"type": "image"}]}]}, 400, "image"),
        (CHAT, {"model": "bundle", "messages": HELLO, "tools": [{}]}, 400, "tools"),
        (CHAT, {"model": "bundle", "messages": HELLO, "tools": [{"type": "custom"}]}, 400, "custom"),
        (CHAT, {"model": "bundle", "messages": HELLO, "tools": [TOOL, TOOL]}, 400, "the same name"),
        (CHAT, {"model": "bundle", "messages": HELLO, "tool_choice": "required"}, 400, "there are no tools"),
        (CHAT, {"model": "bundle", "messages": HELLO, "tools": [TOOL], "tool_choice": "any"}, 400, "tool_choice"),
        (CHAT, {"model": "bundle", "messages": HELLO, "tools": [TOOL], "tool_choice": OTHER}, 400, "no tool 'other'"),
        (CHAT, {"model": "bundle", "messages": HELLO, "tools": [TOOL], "response_format": OBJECT}, 400, "exclude"),
        (CHAT, {"model": "bundle", "messages": [{"role": "tool", "content": "a"}]}, 400, "tool_call_id"),
        (CHAT, {"model": "bundle", "messages": [{"role": "user", "tool_calls": [CALL]}]}, 400, "only the assistant"),
        (CHAT, {"model": "bundle", "messages": [{"role": "assistant", "tool_calls": [BAD]}]}, 400, "no JSON object"),
        (CHAT, {"model": "bundle", "messages": HELLO, "response_format": NESTED}, 400, "64 deep"),
        (CHAT, {"model": "bundle", "messages": HELLO, "response_format": {"type": "xml"}}, 400, "json_schema"),
        (CHAT, {"model": "bundle", "messages": [{"role": "user", "content": "refused"}]}, 400, "not that"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_answered(
    server: Server, path: str, body: Any, status: int, said: str
) -> None:
    answer = server.post(path, body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"]
    assert server.complete("To the ", max_tokens=3)["choices"]


@pytest.mark.parametrize(
    "neutral",
    [
        {"n": 1},
        {"user": "me"},
        {"logprobs": None},
        {"top_p": 1},
        {"frequency_penalty": 0},
        {"logit_bias": {}},
    ],
)
def test_what_asks_for_nothing_is_accepted(server: Server, neutral: dict[str, Any]) -> None:
    assert server.complete("To the ", max_tokens=3, **neutral)["choices"][0]["text"] == "the"


def test_content_may_come_in_parts(server: Server) -> None:
    def said(content: Any) -> Any:
        body = {"model": "bundle", "messages": [{"role": "user", "content": content}], "max_tokens": 9}
        return server.post(CHAT, body).json()["choices"]

    assert said([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]) == said("Hello")


class Person(pydantic.BaseModel):
    """What an answer is read into."""

    name: str
    age: int
    tags: list[Literal["a", "b"]]


def test_the_client_reads_answers_into_types(client: openai.OpenAI) -> None:
    chat = client.chat.completions.parse(model="bundle", messages=HELLO, response_format=Person)
    assert chat.choices[0].message.parsed == Person(name="", age=0, tags=[])
    response = client.responses.parse(model="bundle", input="Hello", text_format=Person)
    assert response.output_parsed == Person(name="", age=0, tags=[])
    tool = openai.pydantic_function_tool(Person)
    asked: Any = {"model": "bundle", "messages": HELLO, "tools": [tool], "tool_choice": "required"}
    with client.chat.completions.stream(**asked) as stream:
        for _ in stream:
            pass
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert [call.function.parsed_arguments for call in calls or ()] == [Person(name="", age=0, tags=[])]
