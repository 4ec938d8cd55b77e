"""Vision-language models served: they answer about a picture as `edgehone run` does, and bad pictures are refused."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

import edgehone
from edgehone.inference.run_bundle import generate
from tests.finished import list_again
from tests.serve.pictures import ANIMATED, COLOURS, QUESTION, png, shown, url
from tests.serve.server import Server, running

# That of LLaVA 1.5 by Hugging Face, which takes only lists of parts.
TEMPLATE = (
    "{% for m in messages %}{% if m.role != 'system' %}{{ m.role.upper() + ': ' }}{% endif %}"
    "{% for part in m.content | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in m.content | selectattr('type', 'equalto', 'text') %}{{ part.text + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
# The same run as in tests/optimize/test_multimodal.py, whose jobs are then made once.
GATES = ("speedup=off", "memory_cut=off", "accuracy_kept=off", "latency_cv=off")
TOML = """
[workloads.tiny]
pictures = true
prompt_tokens = 32
generated_tokens = 8
[efforts.quick]
windows = 8
window = 128
rounds = 2
seconds = 0.03
budget = 5.0
patience = 0.0
"""


@pytest.fixture
def bundle_of(
    make_example: Callable[..., Path], real_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Return a bundle with a tiny vision-language model, built by a backend."""
    monkeypatch.setenv("EDGEHONE_HOME", str(real_home))
    (tmp_path / "tiny.toml").write_text(TOML)

    def make(name: str) -> Path:
        model = make_example("make_tiny_multimodal.py", "tiny-llava", "--vision", "siglip")
        edgehone.optimize(
            model, workload="tiny", effort="quick", backends=[name], gates=GATES, out=tmp_path / "bundle",
            config_file=tmp_path / "tiny.toml",
        )  # fmt: skip
        return tmp_path / "bundle"

    return make


@pytest.mark.real
@pytest.mark.whole
@pytest.mark.xdist_group("measures")
@pytest.mark.parametrize("name", ["llamacpp", pytest.param("openvino", marks=pytest.mark.long)])
def test_answers_about_pictures_are_those_of_run(
    name: str, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = bundle_of(name)
    (tmp_path / "colours.png").write_bytes(COLOURS)
    for template in (None, TEMPLATE):
        if template:
            (bundle / "tokenizer" / "chat_template.jinja").write_text(template)
            list_again(bundle)
        ran = generate(edgehone.read(bundle), QUESTION, 12, picture=tmp_path / "colours.png", quiet=True)
        with running(bundle) as server:
            proof = server.client.get("/readyz").json()["proofs"]["bundle"]
            assert proof == f"all {_answered(bundle)} tokens of the canaries are equal"
            _openai_s_client_shows_a_picture(server, ran)
            _bad_pictures_are_refused(server)
            if template:
                _a_conversation_goes_on(server)


def _answered(bundle: Path) -> int:
    canaries = edgehone.read(bundle).manifest.canaries
    assert sum("picture" in one for one in canaries) == 2
    assert len({tuple(one["answer"]) for one in canaries}) == len(canaries)  # the pictures make a difference
    return sum(len(one["answer"]) for one in canaries)


def _openai_s_client_shows_a_picture(server: Server, ran: dict[str, Any]) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    asked: Any = {"model": "bundle", "messages": shown(url(COLOURS)), "max_tokens": 12}
    answer = client.chat.completions.create(**asked)
    assert answer.choices[0].message.content == ran["text"]
    assert answer.usage is not None and answer.usage.prompt_tokens == ran["prompt_tokens"] > 16
    streamed = client.chat.completions.create(**asked, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in streamed) == ran["text"]
    content = [
        {"type": "input_image", "image_url": url(COLOURS), "detail": "auto"},
        {"type": "input_text", "text": QUESTION},
    ]
    items: Any = [{"role": "user", "content": content}]
    response = client.responses.create(model="bundle", input=items, max_output_tokens=12)
    assert response.output_text == ran["text"]
    other = client.chat.completions.create(
        **{**asked, "messages": shown(url(png(255 - np.zeros((56, 56, 3)))))}
    )
    assert other.choices[0].message.content != ran["text"]


def _bad_pictures_are_refused(server: Server) -> None:
    huge = png(np.zeros((1, 1, 3))).replace(struct.pack(">II", 1, 1), struct.pack(">II", 10_000, 10_000), 1)
    ihdr = huge[12:29]
    huge = huge.replace(huge[29:33], struct.pack(">I", zlib.crc32(ihdr)), 1)
    for messages, said in (
        (shown("https://example.org/cat.png"), "does not ask"),
        (shown("file:///etc/passwd"), "does not ask"),
        (shown("data:image/svg+xml;base64,AAAA"), "begins with 'data:image/svg+xml"),
        (shown("data:image/png;base64,@@@@"), "not base64"),
        (shown(url(b"no picture")), "none of PNG"),
        (shown(url(COLOURS[:-40])), "cannot be read"),
        (shown(url(huge)), "10000 x 10000 pixels"),
        (shown(url(png(np.zeros((1, 300, 3))))), "300 x 1 pixels"),
        (shown(url(ANIMATED)), "animated"),
        (shown(url(COLOURS), detail="high"), "detail"),
        (shown(url(COLOURS), f"{QUESTION}<image>"), "placeholder"),
        (shown(url(COLOURS)) * 2, "2 pictures"),
        ([{**shown(url(COLOURS))[0], "role": "system"}], "only the user"),
    ):
        answer = server.post(
            "/v1/chat/completions", {"model": "bundle", "messages": messages, "max_tokens": 2}
        )
        assert answer.status_code == 400 and said in answer.text, (said, answer.text)
    asked = {"model": "bundle", "messages": shown(url(COLOURS)), "max_tokens": 2}
    answer = server.post("/v1/chat/completions", {**asked, "temperature": 0.7})
    assert answer.status_code == 400 and "temperature is not supported" in answer.text
    assert server.post("/v1/chat/completions", asked).status_code == 200
    assert server.complete("Once upon", max_tokens=3)["usage"]["completion_tokens"] <= 3


def _a_conversation_goes_on(server: Server) -> None:
    first = shown(url(COLOURS))
    more = [*first, {"role": "assistant", "content": "Colours."}, {"role": "user", "content": "Which?"}]

    def tokens(messages: Any) -> int:
        body = {"model": "bundle", "messages": messages, "max_tokens": 2}
        answer = server.post("/v1/chat/completions", body)
        assert answer.status_code == 200, answer.text
        found: int = answer.json()["usage"]["prompt_tokens"]
        return found

    assert tokens(more) > tokens(first)
    # A template that takes only parts gets a text as a part, too, not left out.
    text = [{"role": "user", "content": "Tell me about the people of the United States."}]
    assert tokens(text) > tokens([{"role": "user", "content": "Tell me"}]) > 3
