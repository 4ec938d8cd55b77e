"""Real engines over the demo model: they serve what `edgehone run` gives, to many clients at the same time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import edgehone
from edgehone.backends.llamacpp.server_answer import _body
from edgehone.backends.serving import EngineRequest
from edgehone.inference.run_bundle import generate
from tests.finished import list_again
from tests.serve.rollouts import version
from tests.serve.server import Server, read_only, running

RunWorker = Callable[..., dict[str, Any]]
# tests/backends/mlx has short tests of its engine.
ENGINES = ("llamacpp", pytest.param("mlx", marks=pytest.mark.long), "olive", "openvino")
PROMPTS = ("The people of the United States", "Congress shall", "We hold these truths", "é ü 漢字", "A")
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


@pytest.mark.parametrize("name", ENGINES)
def test_served_text_is_that_of_run(name: str, bundle_of: Callable[[str], Path]) -> None:
    bundle = bundle_of(name)
    read = edgehone.read(bundle)
    ran = [generate(read, prompt, 32, raw=True, quiet=True) for prompt in PROMPTS]
    # The server and its engines write to the temporary folder only.
    through = read_only(bundle, Path(os.environ["EDGEHONE_HOME"]))
    with (
        running(bundle, "--max-queue", "64", through=through) as server,
        ThreadPoolExecutor(len(PROMPTS)) as pool,
    ):
        proof = server.client.get("/readyz").json()["proofs"]["bundle"]
        assert proof.startswith("all ") and proof.endswith("are equal"), proof
        for _ in range(2):  # the second time from a prefix cache
            served = list(pool.map(lambda prompt: server.complete(prompt, max_tokens=32), PROMPTS))
            assert [one["choices"][0]["text"] for one in served] == [one["text"] for one in ran]
        streamed = list(pool.map(lambda prompt: _streamed(server, prompt), PROMPTS))
        assert streamed == [one["text"] for one in ran]
        chat = {"model": "bundle", "messages": [{"role": "user", "content": PROMPTS[0]}], "max_tokens": 32}
        assert server.post("/v1/chat/completions", chat).json()["choices"][0]["message"]["content"]
        _a_schema_is_kept_or_refused(server, name)
        _logprobs_are_given_or_refused(server, name)
        _a_call_is_enforced_or_refused(server, name)
        _drawing_is_repeatable(server)
        _requests_do_not_change_each_other(server)
        if name == "olive":
            _the_artifact_limits_requests(server, bundle)
        _a_killed_engine_comes_back(server)


@pytest.mark.parametrize(("name", "told"), [("llamacpp", True), ("openvino", False)])
def test_the_confidence_is_measured_where_the_engine_tells_it_and_the_text_stays(
    name: str, told: bool, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = bundle_of(name)
    (tmp_path / "serve.toml").write_text(f'confidence_every = 1\n[bundles.bundle]\npath = "{bundle}"\n')
    ran = [generate(edgehone.read(bundle), prompt, 24, raw=True, quiet=True)["text"] for prompt in PROMPTS]
    with running(tmp_path / "serve.toml", as_config=True) as server:
        answers = [server.complete(prompt, max_tokens=24)["choices"][0] for prompt in PROMPTS]
        assert [one["text"] for one in answers] == ran
        assert all(one["logprobs"] is None for one in answers)
        name = "edgehone_confidence"
        assert server.metric(f"{name}_entropy_count") == server.metric(f"{name}_margin_count") == told * 5
        if told:
            # The bound by the likeliest tokens is below the entropy of the sure answers of a trained model.
            assert 0 < server.metric(f"{name}_entropy_sum") / 5 < 0.7
            asked = server.complete(PROMPTS[0], max_tokens=3, logprobs=2)
            assert len(asked["choices"][0]["logprobs"]["top_logprobs"]) == 3
            assert server.metric(f"{name}_entropy_count") == 6


def test_a_bundle_with_the_runtime_s_tokenizer(bundle_of: Callable[[str], Path]) -> None:
    """As bundles of GGUF files: the text process opens the vocabulary, not the weights."""
    bundle = bundle_of("llamacpp")
    (bundle / "tokenizer" / "tokenizer.json").unlink()
    list_again(bundle)
    ran = [generate(edgehone.read(bundle), prompt, 24, raw=True, quiet=True)["text"] for prompt in PROMPTS]
    with running(bundle) as server:
        for text in server.text_processes():
            assert not any(one.path.endswith("model.gguf") for one in text.memory_maps())
        assert [server.complete(prompt, max_tokens=24)["choices"][0]["text"] for prompt in PROMPTS] == ran
        echoed = server.complete(list(b"\x03\x04abc"), max_tokens=4, echo=True)["choices"][0]["text"]
        assert len(echoed) > 4
        answer = server.post("/v1/completions", {"model": "bundle", "prompt": [1, 2048]})
        assert answer.status_code == 400
        assert "token id 2048 is outside the vocabulary of 2048" in answer.json()["error"]["message"]


def _the_artifact_limits_requests(server: Server, bundle: Path) -> None:
    """Requests beyond the limit of ONNX Runtime GenAI's own configuration: shortened answers, refused prompts."""
    limit = json.loads((bundle / "artifact" / "genai_config.json").read_text())["search"]["max_length"]
    long = server.complete([3] * 8, max_tokens=100 * limit)["usage"]["completion_tokens"]
    assert 0 < long <= limit - 8
    refused = server.post("/v1/completions", {"model": "bundle", "prompt": [3] * limit, "max_tokens": 5})
    assert refused.status_code == 400 and f"at most {limit} fit" in refused.text


def _streamed(server: Server, prompt: str) -> str:
    events = server.events("/v1/completions", {"model": "bundle", "prompt": prompt, "max_tokens": 32})
    assert events[-1] == "[DONE]"
    return "".join(json.loads(one)["choices"][0]["text"] for one in events[:-1])


def _a_schema_is_kept_or_refused(server: Server, name: str) -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema, "strict": True}}
    asked = {"messages": [{"role": "user", "content": PROMPTS[0]}], "max_tokens": 64, "response_format": form}
    answer = server.post("/v1/chat/completions", {"model": "bundle", **asked})
    if name in ("mlx", "openvino"):
        assert answer.status_code == 400, answer.text
        why = {"openvino": " with this model: OpenVINO GenAI reads token 3 as b'<0x00>'"}.get(
            name, "; leave it out"
        )
        assert f"response_format is not supported by {name}{why}" in answer.json()["error"]["message"]
        return
    _schemas_are_kept(server, {"minimum": 0, "maximum": 99} if name == "llamacpp" else {})


def _schemas_are_kept(server: Server, bounds: dict[str, int]) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", **bounds}},
        "required": ["n"],
        "additionalProperties": False,
    }

    def answered(schema: Any, **more: Any) -> Any:
        form = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema, "strict": True}}
        asked = {
            "messages": [{"role": "user", "content": PROMPTS[0]}],
            "max_tokens": 64,
            "response_format": form,
        }
        return server.post("/v1/chat/completions", {"model": "bundle", **asked, **more})

    answer = answered(schema, n=3, temperature=1.0)
    assert answer.status_code == 200, answer.text
    for choice in answer.json()["choices"]:
        found = json.loads(choice["message"]["content"])
        assert found.keys() == {"n"} and isinstance(found["n"], int)
    for text in ("漢字 and 😀é", "😀", " é"):  # characters that the vocabulary has only as bytes
        answer = answered({"const": text})
        assert answer.status_code == 200, answer.text
        assert json.loads(answer.json()["choices"][0]["message"]["content"]) == text
    nothing: dict[str, Any] = {"type": "integer", "minimum": 3, "maximum": 1}
    for bad in ({"type": "nonsense"}, {"$ref": "#/nowhere"}, nothing):
        answer = answered(bad)
        assert answer.status_code == 400, answer.text
    assert server.complete(PROMPTS[0], max_tokens=4)["choices"][0]["text"]


def _a_call_is_enforced_or_refused(server: Server, name: str) -> None:
    city: dict[str, Any] = {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/city"}},
        "required": ["city"],
    }
    city |= {"additionalProperties": False, "$defs": {"city": {"enum": ["Bern", "Zürich"]}}}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": parameters}}
        for name, parameters in (
            ("time", {"type": "object", "additionalProperties": False}),
            ("weather", city),
        )
    ]
    asked = {"messages": [{"role": "user", "content": PROMPTS[0]}], "max_tokens": 96, "tools": tools}
    named = {"type": "function", "function": {"name": "weather"}}
    for choice, names in (("required", ("time", "weather")), (named, ("weather",))):
        answer = server.post("/v1/chat/completions", {"model": "bundle", **asked, "tool_choice": choice})
        if name in ("mlx", "openvino"):
            assert answer.status_code == 400 and answer.json()["error"]["param"] == "tool_choice", answer.text
            continue
        assert answer.status_code == 200, answer.text
        (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
        assert call["function"]["name"] in names
        arguments = json.loads(call["function"]["arguments"])
        assert arguments == {} or arguments["city"] in ("Bern", "Zürich")
    free = server.post("/v1/chat/completions", {"model": "bundle", **asked, "max_tokens": 8})
    assert free.status_code == 200 and free.json()["choices"][0]["finish_reason"] == "length"


def _logprobs_are_given_or_refused(server: Server, name: str) -> None:
    asked: dict[str, Any] = {"prompt": PROMPTS[0], "max_tokens": 8}
    both = ("logprobs", "top_logprobs")
    expected = {"llamacpp": both, "mlx": both, "openvino": ("logprobs",)}.get(name, ())
    for field, count in (("logprobs", 0), ("top_logprobs", 3)):
        answer = server.post("/v1/completions", {"model": "bundle", **asked, "logprobs": count})
        if field not in expected:
            assert answer.status_code == 400 and "is not supported by" in answer.json()["error"]["message"]
            continue
        (choice,) = answer.json()["choices"]
        told = choice["logprobs"]
        assert "".join(told["tokens"]).strip() == choice["text"].strip()
        assert all(-20 < one <= 0 for one in told["token_logprobs"])
        for token, logprob, top in zip(
            told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True
        ):
            assert top[token] == logprob == max(top.values())  # greedy
            assert len(top) == max(1, count)


def _drawing_is_repeatable(server: Server) -> None:
    asked: dict[str, Any] = {"prompt": PROMPTS[0], "max_tokens": 24, "temperature": 1.0, "seed": 5}
    first = server.post("/v1/completions", {"model": "bundle", **asked})
    if first.status_code == 400:
        assert "seed is not supported" in first.json()["error"]["message"]
        return
    text = first.json()["choices"][0]["text"]
    assert server.complete(**asked)["choices"][0]["text"] == text
    others = {server.complete(**{**asked, "seed": seed})["choices"][0]["text"] for seed in range(4)}
    assert len(others) > 1


def _requests_do_not_change_each_other(server: Server) -> None:
    """Requests of different lengths with and without options, which join and leave the same batches."""
    plain = [{"prompt": prompt, "max_tokens": 8 + 5 * at} for at, prompt in enumerate(PROMPTS)]
    asked: list[dict[str, Any]] = [*plain, *({**one, "repetition_penalty": 1.5} for one in plain)]
    alone = [server.complete(**one)["choices"][0]["text"] for one in asked]
    assert alone[: len(plain)] != alone[len(plain) :]
    drawn = [{**one, "temperature": 1.0} for one in plain]
    with ThreadPoolExecutor(2 * len(asked)) as pool:
        among = pool.map(lambda one: server.complete(**one)["choices"][0]["text"], [*asked, *drawn, *asked])
        together = list(among)
    assert together[: len(asked)] == together[-len(asked) :] == alone


def _a_killed_engine_comes_back(server: Server) -> None:
    victims = [server.engine]
    if server.engine().children():  # a program of the framework's own, such as llama-server
        victims.append(lambda: server.engine().children()[0])
    for victim in victims:
        victim().kill()
        server.wait_until(False)
        server.wait_until(True)
        assert server.complete(PROMPTS[0], max_tokens=4)["choices"][0]["text"]


def test_a_prompt_that_takes_too_long_ends_no_answer(bundle_of: Callable[[str], Path]) -> None:
    bundle = bundle_of("llamacpp")
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    (bundle / "tokenizer" / "chat_template.jinja").write_text(endless)
    list_again(bundle)
    with running(bundle) as server, ThreadPoolExecutor(1) as pool:
        chat = {"model": "bundle", "messages": [{"role": "user", "content": "Hello"}]}
        ended = pool.submit(server.post, "/v1/chat/completions", chat)
        while not ended.done():
            body = {"model": "bundle", "prompt": list(range(3, 20)), "max_tokens": 200}
            assert server.events("/v1/completions", body)[-1] == "[DONE]"
        assert "longer than" in ended.result().json()["error"]["message"]


@pytest.mark.parametrize("keeps", [True, False])
def test_llama_cpp_computes_a_prompt_again_only_without_its_prefix_cache(
    keeps: bool, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = version(bundle_of("llamacpp"), tmp_path / "second" / "bundle", prefix_cache=keeps)
    request = EngineRequest(1, list(range(3, 67)), 3)
    with running(bundle, "--parallel", "1") as server:
        (program,) = server.engine().children()
        path = next(word for word in program.cmdline() if word.endswith("llama.sock"))
        with httpx.Client(transport=httpx.HTTPTransport(uds=path), timeout=60) as client:
            body = {**_body(request), "stream": False}
            first, second = (client.post("http://engine/completion", json=body).json() for _ in range(2))
    assert first["timings"]["prompt_n"] >= 1
    assert second["timings"]["prompt_n"] == (1 if keeps else 64)
