"""Prompts in the model's chat template, and conversations, through the real command line on the null backend."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.core.errors import InputError, JobError
from edgehone.inference.converse import converse
from edgehone.inference.run_bundle import generate
from edgehone.inference.sampling import SamplingOptions, settings
from tests.finished import list_again

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.content == 'refused' %}{{ raise_exception('not that') }}{% endif %}"
    "[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.fixture
def chatty(spoiled: Path, monkeypatch: pytest.MonkeyPatch, finished: Any) -> Path:
    """The finished bundle with a chat template, as if its original had one."""
    (spoiled / "tokenizer").mkdir(exist_ok=True)
    config = {"chat_template": TEMPLATE, "bos_token": "<s>"}
    (spoiled / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))
    list_again(spoiled)
    return spoiled


def state(bundle: Path, **stated: object) -> None:
    (bundle / "tokenizer" / "generation_config.json").write_text(json.dumps(stated))
    list_again(bundle)


def type_in(bundle: Path, text: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "edgehone.cli.main", "chat", str(bundle), *words]
    return subprocess.run(command, input=text, capture_output=True, check=False)


def test_run_uses_the_template_and_raw_does_not(chatty: Path) -> None:
    bundle = edgehone.read(chatty)
    asked = generate(bundle, "The sea", 5, quiet=True)
    rendered = "<s>[user] The sea\n[assistant] "
    assert asked["template"] and asked["prompt_tokens"] == 1 + len(rendered)  # null adds a BOS by itself
    raw = generate(bundle, "The sea", 5, raw=True, quiet=True)
    assert not raw["template"] and raw["prompt_tokens"] == 1 + len("The sea")


def test_without_a_template_run_goes_on_with_the_text(spoiled: Path, finished: Any) -> None:
    bundle = edgehone.read(spoiled)
    assert generate(bundle, "The sea", 5, quiet=True) | {"ttft_s": 0, "decode_tokens_per_s": 0} == generate(
        bundle, "The sea", 5, raw=True, quiet=True
    ) | {"ttft_s": 0, "decode_tokens_per_s": 0}


def test_the_models_own_sampling_is_used_with_a_seed(chatty: Path) -> None:
    state(chatty, do_sample=True, temperature=1.5, top_k=0)
    bundle = edgehone.read(chatty)
    seeds = [SamplingOptions(seed=seed) for seed in (1, 1, 2)]
    first, again, other = (generate(bundle, "The", 40, sampling=one, quiet=True)["text"] for one in seeds)
    assert first == again != other
    greedy = SamplingOptions(temperature=0)
    assert generate(bundle, "The", 40, sampling=greedy, quiet=True)["sampling"] is None
    assert generate(bundle, "The", 40, raw=True, quiet=True)["sampling"] is None


@pytest.mark.parametrize(
    ("stated", "options", "found"),
    [
        ({}, {}, None),
        ({"temperature": 0.7}, {}, None),  # transformers ignores it without do_sample
        ({"do_sample": True}, {}, {"temperature": 1.0, "top_k": 50, "top_p": 1.0}),
        (
            {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
            {},
            {"temperature": 0.6, "top_k": 50, "top_p": 0.9},
        ),
        ({"do_sample": True, "top_k": 5}, {"top_k": 0}, {"top_k": 0}),
        ({"do_sample": True}, {"temperature": 0}, None),
        ({"repetition_penalty": 1.3}, {}, {"temperature": 0.0, "repetition_penalty": 1.3}),
        ({}, {"top_p": 0.5}, {"temperature": 1.0, "top_p": 0.5, "top_k": 0}),
        ({}, {"temperature": 0.2, "seed": 7}, {"temperature": 0.2, "seed": 7}),
    ],
)
def test_sampling_is_that_of_the_model_unless_the_user_says_otherwise(
    tmp_path: Path, stated: dict[str, Any], options: dict[str, Any], found: dict[str, Any] | None
) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(stated))
    got = settings(SamplingOptions(**options), tmp_path)
    assert (got is None) == (found is None)
    if got and found:
        assert found.items() <= got.items() and got["seed"] >= 0
    assert settings(SamplingOptions(), tmp_path, raw=True) is None


def test_a_prompt_that_is_not_utf_8_or_beyond_the_context_is_refused(chatty: Path) -> None:
    bundle = edgehone.read(chatty)
    with pytest.raises(InputError, match="the prompt is not UTF-8: byte 0xff after 'caf'"):
        generate(bundle, "caf\udcff", 5, quiet=True)
    with pytest.raises(InputError, match=r"the prompt has \d+ tokens; the model's context is 4096"):
        generate(bundle, "sea " * 1024, 5, quiet=True)
    limited = generate(bundle, "s" * 4000, 500, raw=True, quiet=True)
    assert limited["context_limited"] and limited["prompt_tokens"] + limited["tokens"] == 4096


def test_a_conversation_keeps_its_history(chatty: Path) -> None:
    pieces: list[str] = []
    with converse(edgehone.read(chatty), 6, sampling=SamplingOptions(), system="Be brief.") as conversation:
        first = conversation.say("The sea", pieces.append)
        assert "".join(pieces) == first["answer"] and first["tokens"] == 6
        before = "<s>[system] Be brief.\n[user] The sea\n[assistant] "
        assert first["prompt_tokens"] == 1 + len(before)
        second = conversation.say("And")
        assert second["prompt_tokens"] == 1 + len(before + first["answer"] + "\n[user] And\n[assistant] ")
        with pytest.raises(InputError, match="cannot be rendered: not that"):
            conversation.say("refused")
        with pytest.raises(InputError, match="context is 4096"):
            conversation.say("x" * 5000)
        assert [one["role"] for one in conversation.messages] == ["user", "assistant"] * 2
        conversation.clear()
        assert conversation.say("The sea")["answer"] == first["answer"]


def test_a_process_that_ends_is_an_error_and_not_a_hang(chatty: Path) -> None:
    (chatty / "artifact" / "likeliest.bin").unlink()
    list_again(chatty)
    opened = converse(edgehone.read(chatty), 6, sampling=SamplingOptions())
    with opened as conversation, pytest.raises(JobError, match="No such file"):
        conversation.say("The sea")


def test_each_line_is_a_message_without_a_terminal(chatty: Path) -> None:
    done = type_in(chatty, b"The sea\n\n/clear\nThe sea\n", "--max-tokens", "5")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.decode().splitlines()
    assert first == second and len(first) == 5
    told = type_in(chatty, b"The sea\nAnd\n", "--max-tokens", "5", "--json")
    answers = [json.loads(line) for line in told.stdout.splitlines()]
    assert [one["answer"] for one in answers] == [first, answers[1]["answer"]]
    assert answers[1]["prompt_tokens"] > answers[0]["prompt_tokens"] and answers[0]["sampling"] is None


def test_what_cannot_be_answered_ends_plain_lines_with_exit_2(chatty: Path) -> None:
    for text, said in ((b"refused\n", b"not that"), (b"caf\xff\n", b"byte 0xff")):
        done = type_in(chatty, text)
        assert done.returncode == 2 and said in done.stderr and b"Traceback" not in done.stderr


def test_a_model_without_a_template_cannot_chat(spoiled: Path, finished: Any) -> None:
    done = type_in(spoiled, b"hi\n")
    assert done.returncode == 2
    assert b"has no chat template" in done.stderr and b"edgehone run" in done.stderr


def test_in_a_terminal_there_is_a_prompt_and_an_error_does_not_end_the_conversation(chatty: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edgehone.cli.main", "chat", str(chatty), "--max-tokens", "5"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as child:
        os.close(theirs)
        os.write(ours, b"refused\n/help\nThe sea\n/exit\n")
        shown = b""
        while part := _read(ours):
            shown += part
    os.close(ours)
    assert child.returncode == 0
    assert b"> " in shown and b"not that" in shown and b"(/clear forgets" in shown
    assert shown.count(b"/exit or Ctrl-D ends it") == 2 and b"there is no command /help" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""
