"""Picture files, requests that show them, and what a served vision-language model must answer."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openai

import edgehone
from edgehone.inference.run_bundle import generate
from tests.finished import list_again
from tests.png import png
from tests.serve.server import Server, running

# That of LLaVA 1.5 by Hugging Face, which takes only lists of parts.
TEMPLATE = (
    "{% for m in messages %}{% if m.role != 'system' %}{{ m.role.upper() + ': ' }}{% endif %}"
    "{% for part in m.content | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in m.content | selectattr('type', 'equalto', 'text') %}{{ part.text + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
# Of the run of tests/optimize/test_multimodal.py and tests/serve/test_pictures.py, whose jobs are made once.
# A random model says nothing right; what is asked here is whether it says the same.
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
QUESTION = "What is this?"


COLOURS = png(np.arange(60 * 40 * 3).reshape(40, 60, 3) % 251)


def url(content: bytes, kind: str = "png") -> str:
    """Return a file as a data: URL."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def shown(address: str, text: str = QUESTION, **more: Any) -> list[dict[str, Any]]:
    """Return a message with a picture and a text."""
    picture = {"type": "image_url", "image_url": {"url": address, **more}}
    return [{"role": "user", "content": [picture, {"type": "text", "text": text}]}]


# A GIF with two pictures of one pixel.
_PICTURE = b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"
_CONTROL = b"\x21\xf9\4\0\1\0\0\0"
ANIMATED = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + 2 * (_CONTROL + _PICTURE) + b"\x3b"


def answers_are_those_of_run(
    bundle: Path, tmp_path: Path, templates: Sequence[str | None] = (None, TEMPLATE)
) -> None:
    """Serve a bundle with a vision-language model with each of the chat templates, and show it pictures."""
    (tmp_path / "colours.png").write_bytes(COLOURS)
    for template in templates:
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
    assert answer.status_code == 400 and "for vision-language models" in answer.text
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
