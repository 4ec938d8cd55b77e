"""The pytorch backend: support, recipes, and the demo model in the real transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgehone.backends.pytorch import backend, tokenizer
from edgehone.backends.sessions import WorkerJob
from edgehone.inputs.texts import shipped
from tests.models import LLAMA

RunWorker = Callable[..., dict[str, Any]]
HERE = "edgehone.backends.pytorch.backend"


def test_a_llama_is_supported_without_notes() -> None:
    support = backend.supports(LLAMA)
    assert support.ok and support.reasons == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "unheard_of"}, "unheard_of"),
        ({"remote_code": True}, "trust_remote_code"),
        ({"format": "null"}, "null"),
        ({"quantized": "gptq"}, "gptq"),
    ],
)
def test_unsupported_models_are_refused_with_the_value(change: dict[str, Any], reason: str) -> None:
    support = backend.supports(replace(LLAMA, **change))
    assert not support.ok
    assert reason in " ".join(support.reasons)


def test_original_and_reference_share_their_build_and_differ_in_dtype() -> None:
    original, reference = backend.original(LLAMA), backend.reference(LLAMA)
    assert backend.steps(original) == backend.steps(reference)
    assert original.settings == {"dtype": "stored"}
    assert reference.settings == {"dtype": "float32", "streamed": True}
    assert original.key != reference.key
    assert backend.recipes(LLAMA) == [original]


def test_link_original_excludes_files_that_could_run_code(tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    model.mkdir()
    out.mkdir()
    names = (
        "config.json",
        "model.safetensors",
        "tokenizer.model",
        "pytorch_model.bin",
        "modeling_x.py",
        ".git",
    )
    for name in names:
        (model / name).write_text(name)
    backend.link_original(WorkerJob({}, {"model": model}, out, None, 1, lambda fraction, what: None))
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors", "tokenizer.model"}
    assert (out / "config.json").read_text() == "config.json"


@settings(deadline=None)  # the first call imports numpy
@given(st.text(max_size=60), st.data())
def test_byte_sizes_sum_to_the_text_for_any_offsets(text: str, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.integers(0, len(text)), min_size=1, max_size=30))
    sizes = tokenizer.sizes_of(text, ends)
    assert sum(sizes) == len(text.encode())
    assert min(sizes) >= 0


def test_byte_sizes_follow_the_characters() -> None:
    # "a", "é" (2 bytes), "😀" (4 bytes) as two tokens of the same character, then "b".
    assert tokenizer.sizes_of("aé😀b", [1, 2, 3, 3, 4]) == [1, 2, 4, 0, 1]
    assert tokenizer.sizes_of("", []) == []


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=30), st.integers(0, 500))
def test_scaled_sizes_sum_to_the_total(sizes: list[int], total: int) -> None:
    scaled = tokenizer.scaled(sizes, total)
    assert len(scaled) == len(sizes)
    if any(sizes):
        assert sum(scaled) == total


@pytest.mark.parametrize(
    ("config", "generation", "ends"),
    [
        ({}, {}, [7]),
        ({"eos_token_id": 2}, {"eos_token_id": [2, 5]}, [2, 5, 7]),
        ({"eos_token_id": None}, {}, [7]),
    ],
)
def test_end_ids_come_from_all_configurations(
    tmp_path: Path, config: dict[str, Any], generation: dict[str, Any], ends: list[int]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert tokenizer.end_ids(tmp_path, 7) == ends


@pytest.mark.real
def test_the_demo_model_scores_and_generates(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    artifact = tmp_path / "artifact"
    run_worker("pytorch", f"{HERE}:link_original", {}, {"model": demo_model}, artifact)
    for dtype in ("float32", "stored"):
        args = {"ids": [1, *range(300, 330)], "settings": {"dtype": dtype}}
        facts = run_worker(
            "pytorch", "pytorchfunctions:probe", args, {"artifact": artifact}, tmp_path / "out"
        )
        assert facts["whole"] == 1 and facts["dtype"] == "float32"
        assert facts["parts"] == [5] * 6 + [1]
        assert facts["difference"] < 1e-4
        assert facts["ids"] == facts["argmax"]
        assert facts["ordered"] and facts["times"] == 12
        assert facts["stopped"] == facts["ids"][: facts["ids"].index(facts["ids"][3]) + 1]
        assert facts["together"] == "3 prompts of 15 to 31 ids, 12 tokens each"
        assert facts["text"]


@pytest.mark.real
def test_broken_models_raise_errors_with_the_cause(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    said = run_worker("pytorch", "pytorchfunctions:refusals", {}, {"model": demo_model}, tmp_path / "said")
    assert "has no vocabulary" in said["no tokenizer"]
    assert "tokenizer" in said["broken tokenizer"] and "cannot be loaded" in said["broken tokenizer"]
    assert "cannot be loaded" in said["truncated weights"]
    assert "lack 1 tensors" in said["missing tensor"] and "model.norm.weight" in said["missing tensor"]
    assert "unheard_of" in said["unknown architecture"]
    assert "cannot be loaded" in said["no weights"]
    # The message names the user's folder, not the job's.
    assert all("adopted" not in message for message in said.values())


@pytest.mark.real
def test_texts_are_tokenized_with_the_originals_tokenizer(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path
) -> None:
    task = tmp_path / "task.jsonl"
    task.write_text('{"prompt": "The sky is", "choices": [" blue", " a fish"], "answer": 0}\n', "utf-8")
    texts = {name: shipped(name) for name in ("evaluation", "calibration")}
    out = tmp_path / "out"
    facts = run_worker(
        "pytorch",
        "edgehone.worker.prepare:prepare",
        {"backend": HERE},
        {"model": demo_model, "task": task, **texts},
        out,
    )
    assert facts["bos"] == [1] and facts["eos"] == [2] and facts["vocabulary"] == 2048
    evaluation = json.loads((out / "evaluation.json").read_text("utf-8"))
    assert len(evaluation["ids"]) == len(evaluation["bytes"]) == facts["tokens"]["evaluation"]
    assert sum(evaluation["bytes"]) == texts["evaluation"].stat().st_size
    assert 1 not in evaluation["ids"]
    assert all(one["ids"][0] == 1 for one in json.loads((out / "parity.json").read_text("utf-8")))
    assert facts["portable"] and (out / "tokenizer" / "tokenizer.json").is_file()
    items = json.loads((out / "task.json").read_text("utf-8"))
    assert [len(items), items[0]["answer"], len(items[0]["choices"])] == [1, 0, 2]
    assert (out / "calibration" / "calibration.txt").read_bytes() == texts["calibration"].read_bytes()
