"""Workloads: shipped and user-defined ones, and fitting them to a model's context."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.core.errors import InputError
from edgehone.inputs import workload


def test_chat_is_the_default() -> None:
    chat = workload.load()
    assert (chat.name, chat.prompt_tokens, chat.generated_tokens) == ("chat", 256, 128)


@pytest.mark.parametrize(("name", "lengths"), [("completion", (64, 256)), ("long-context", (2048, 128))])
def test_shipped(name: str, lengths: tuple[int, int]) -> None:
    got = workload.load(name)
    assert (got.prompt_tokens, got.generated_tokens) == lengths
    assert got.context >= sum(lengths)
    assert set(got.weights) == set(workload.OBJECTIVES)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown workload 'chta'") as caught:
        workload.load("chta")
    assert "did you mean 'chat'" in str(caught.value.hint)


def test_a_user_defined_workload_starts_from_chat() -> None:
    got = workload.load("mail", {"workloads": {"mail": {"prompt_tokens": 900}}})
    assert (got.prompt_tokens, got.generated_tokens, got.context) == (900, 128, 1028)


def test_user_defined_values_override_a_shipped_workload() -> None:
    got = workload.load("chat", {"workloads": {"chat": {"weights": {"size": 1}}}})
    assert got.weights == {**dict.fromkeys(workload.OBJECTIVES, 0.0), "size": 1.0}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"promt_tokens": 3}, "unknown key 'promt_tokens'"),
        ({"prompt_tokens": 0}, "prompt_tokens is 0"),
        ({"batch": True}, "batch is True"),
        ({"prompt_tokens": "many"}, "prompt_tokens is 'many'"),
        ({"context": 3}, "context of 3 is too short for 384"),
        ({"weights": {"spead": 1}}, "unknown objective 'spead'"),
        ({"weights": {"speed": -1}}, "speed is -1"),
        ({"weights": {"speed": float("nan")}}, "speed is nan"),
        ({"weights": {"speed": 0}}, "all weights are 0"),
        ({"weights": 3}, "is 3, not a table"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": -2}, "batch is -2"),
        ({"batch": 1.5}, "batch is 1.5"),
        ({"batch": 5000}, "batch is 5000"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"concurrency": 10**9}, "concurrency is 1000000000"),
        ({"prompt_tokens": 1 << 40}, "prompt_tokens is"),
        ({"concurency": 4}, "unknown key 'concurency'"),
        ({"task": "text-generaton"}, "task is 'text-generaton'"),
        ({"task": ["graph"]}, "task is"),
        ({"frames_per_s": 30}, "a language model takes no frames"),
        ({"deadline_ms": 30}, "without frames"),
        ({"pictures": "yes"}, "pictures is 'yes'"),
        ({"pictures": True, "concurrency": 2}, "with batch or concurrency above 1"),
        (3, "is 3, not a table"),
    ],
)
def test_bad_tables(table: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        workload.load("chat", {"workloads": {"chat": table}})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"frames_per_s": -1}, "frames_per_s is -1"),
        ({"frames_per_s": float("inf")}, "frames_per_s is inf"),
        ({"frames_per_s": float("nan")}, "frames_per_s is nan"),
        ({"frames_per_s": "30"}, "frames_per_s is '30'"),
        ({"deadline_ms": -5}, "deadline_ms is -5"),
        ({"concurrency": 2}, "with batch or concurrency above 1"),
        ({"batch": 2}, "with batch or concurrency above 1"),
    ],
)
def test_bad_streams(table: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        workload.load("vision-stream", {"workloads": {"vision-stream": table}}, "graph")
    assert caught.value.hint


def test_the_default_deadline_of_a_frame_is_the_next_frame() -> None:
    stream = workload.load("vision-stream", kind="graph")
    assert stream.frames_per_s == 30.0 and stream.deadline_ms == pytest.approx(1000 / 30)
    slack = workload.load("door", {"workloads": {"door": {"frames_per_s": 5, "deadline_ms": 500}}}, "graph")
    assert (slack.frames_per_s, slack.deadline_ms) == (5.0, 500.0)
    assert stream.to_json()["frames_per_s"] == 30.0
    assert "frames_per_s" not in workload.load().to_json()


def test_a_stream_workload_means_pictures_for_a_language_model() -> None:
    seeing = workload.load("vision-stream", kind="language")
    assert seeing.pictures and seeing.generated_tokens == 32 and seeing.frames_per_s == 0
    assert not workload.load("vision-stream", kind="graph").pictures
    assert "pictures" not in workload.load().to_json()
    with pytest.raises(InputError, match="pictures for a graph"):
        workload.load("door", {"workloads": {"door": {"pictures": True}}}, "graph")


def test_a_batch_workload_weights_throughput() -> None:
    batch = workload.load("batch")
    assert batch.weights["throughput"] > 0 and batch.weights["speed"] == 0
    own = workload.load("busy", {"workloads": {"busy": {"batch": 2, "concurrency": 4}}})
    assert own.sequences == 8 and own.weights["throughput"] == 0


@pytest.mark.parametrize(("name", "kind"), [("batch", "graph"), ("chat", "graph"), ("embed", "language")])
def test_a_workload_of_the_wrong_kind(name: str, kind: Any) -> None:
    with pytest.raises(InputError, match="which this model does not do") as caught:
        workload.load(name, kind=kind)
    assert "--workload" in str(caught.value.hint)


def test_a_sufficient_context_does_not_change_the_workload() -> None:
    chat = workload.load()
    assert workload.fit(chat, None) == (chat, None)
    assert workload.fit(chat, 4096) == (chat, None)


def test_a_short_context_shortens_the_workload_in_proportion_with_a_note() -> None:
    smaller, note = workload.fit(workload.load("long-context"), 512)
    assert (smaller.prompt_tokens, smaller.generated_tokens, smaller.context) == (481, 30, 512)
    assert note is not None
    assert "512" in note


@given(some.integers(1, 5000), some.integers(1, 5000), some.integers(2, 6000))
def test_fitting_always_fits(prompt: int, generated: int, context: int) -> None:
    asked = dataclasses.replace(
        workload.load(), prompt_tokens=prompt, generated_tokens=generated, context=prompt + generated
    )
    got, note = workload.fit(asked, context)
    assert got.prompt_tokens >= 1
    assert got.generated_tokens >= 1
    assert got.prompt_tokens + got.generated_tokens <= min(context, got.context)
    assert (note is None) == (prompt + generated <= context)


def test_no_context_at_all() -> None:
    with pytest.raises(InputError, match="context of 1"):
        workload.fit(workload.load(), 1)
