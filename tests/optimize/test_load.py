"""Workloads that ask for several things at once, through the whole run, on the null backend."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import edgehone
from edgehone.core.errors import InputError, TextError
from edgehone.inputs import workload
from edgehone.model.inspect import inspect
from edgehone.optimize import context_setup
from edgehone.optimize.evaluate import language, vision
from edgehone.optimize.options import OptimizeOptions
from edgehone.report.summary import summary
from tests.tiny import SHALLOW

GATES = ("latency_cv=off", "memory_cut=off", "speedup=off")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "edgehone.toml"
    lengths = "prompt_tokens = 32\ngenerated_tokens = 8\n"
    path.write_text(
        f"{SHALLOW}[workloads.four]\n{lengths}concurrency = 4\n"
        f"[workloads.pairs]\n{lengths}batch = 2\nconcurrency = 2\n"
    )
    return path


def measured(model: Path, config: Path, name: str, **more: object) -> edgehone.Decision:
    return edgehone.optimize(
        model,
        workload=name,
        effort="quick",
        backends=["null"],
        gates=GATES,
        config_file=config,
        **more,  # type: ignore[arg-type]
    )


def value(decision: edgehone.Decision, name: str, key: str = "null/q8") -> float:
    (candidate,) = [c for c in decision.candidates if c.key == key]
    found = candidate.figure(name).value
    assert found is not None
    return found


def test_clients_before_a_session_that_serves_many(own_home: Path, null_model: Path, config: Path) -> None:
    four = measured(null_model, config, "four")
    assert four.chosen in ("null/q8", "null/q4")
    assert value(four, "tokens_per_s_total") == pytest.approx(8 * value(four, "requests_per_s"))
    assert value(four, "decode_tokens_per_s") > 0
    assert "32 tokens in, 8 out, 4 clients" in summary(four) and "all tokens/s" in summary(four)
    assert "waiting" in str(four.candidates[0].figure("prefill_tokens_per_s").reason)


@pytest.mark.whole
def test_a_search_for_what_is_answered_a_second(own_home: Path, null_model: Path, config: Path) -> None:
    """Batches and clients together, under a limit, weighed by throughput."""
    decision = measured(
        null_model, config, "pairs", time=60.0, maximize=["throughput"], subject_to=["throughput>=1"]
    )
    assert decision.requirements["weights"]["throughput"] == 1
    assert decision.chosen and "requests/s" in decision.reason


def test_prompts_are_different_pieces_of_the_text() -> None:
    work = dataclasses.replace(workload.load(), prompt_tokens=10, generated_tokens=5, batch=2, concurrency=3)
    asked = language._request(work, [0], list(range(1, 61)))
    assert (asked["batch"], asked["clients"], asked["generated"]) == (2, 3, 5)
    assert [prompt[:2] for prompt in asked["prompts"]] == [[0, 1 + 9 * at] for at in range(6)]
    assert {len(prompt) for prompt in asked["prompts"]} == {10}
    # A shorter text gives pieces that overlap, none of which begins as another does.
    crowded = language._request(work, [0], list(range(1, 21)))["prompts"]
    assert len({prompt[1] for prompt in crowded}) == 6
    with pytest.raises(TextError, match="6 different prompts of 10"):
        language._request(work, [0], list(range(1, 12)))
    alone = language._request(dataclasses.replace(work, batch=1, concurrency=1), [0], list(range(1, 61)))
    assert alone == {"prompt": list(range(10)), "generated": 5}


def test_pictures_are_shown_to_what_sees(null_model: Path) -> None:
    stream = workload.load("vision-stream")
    with pytest.raises(InputError, match="has pictures, and NullForCausalLM is not a vision-language model"):
        context_setup.check_pictures(inspect(null_model), stream)
    context_setup.check_pictures(dataclasses.replace(inspect(null_model), task="image-text-to-text"), stream)


def test_a_language_model_in_gguf_lacks_the_projector(null_model: Path, tmp_path: Path) -> None:
    """Whatever asks for pictures is told what is missing, and where pictures can be had."""
    file = dataclasses.replace(inspect(null_model), format="gguf", path=tmp_path / "vl.gguf")
    options = OptimizeOptions(file.path, pictures=tmp_path)
    for call in (
        lambda: context_setup.check_pictures(file, workload.load("vision-stream")),
        lambda: vision.inputs(options, file),
    ):
        with pytest.raises(
            InputError, match=r"vl.gguf is a language model alone, without the projector"
        ) as caught:
            call()
        assert "the checkpoint of both" in str(caught.value.hint) and caught.value.exit_code == 2
    with pytest.raises(InputError, match="is not a vision-language model"):
        vision.inputs(options, inspect(null_model))


def test_caches_that_no_memory_holds(null_model: Path) -> None:
    model = dataclasses.replace(inspect(null_model), kv_bytes_per_token=2 * 2 * 32 * 8 * 128)
    busy = dataclasses.replace(workload.load(), concurrency=64)
    context_setup.check_caches(model, busy, None)
    context_setup.check_caches(model, busy, 10**12)
    with pytest.raises(
        InputError, match=r"64 KV caches of 384 tokens are 3.2 GB .* at most 19 would fit"
    ) as caught:
        context_setup.check_caches(model, busy, 10**9)
    assert "lower batch, concurrency" in str(caught.value.hint)
    with pytest.raises(InputError, match="not even one fits"):
        context_setup.check_caches(model, busy, 10**6)
