"""Tokenizers that runtimes read differently than the original does where it does not matter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends import registry
from edgehone.worker.original_tokenizer import CLEAN_UP
from tests import parityrun
from tests.realruns import RunWorker

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content | trim }}</s> {% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def changed(demo_model: Path, folder: Path, tokenizer: dict[str, Any], config: dict[str, Any]) -> Path:
    """The demo model with other entries of tokenizer.json and tokenizer_config.json."""
    shutil.copytree(demo_model, folder)
    for name, entries in (("tokenizer.json", tokenizer), ("tokenizer_config.json", config)):
        data = json.loads((folder / name).read_text("utf-8"))
        (folder / name).write_text(json.dumps({**data, **entries}), "utf-8")
    return folder


@pytest.mark.real
def test_a_space_after_a_literal_special_token_disqualifies_nobody(demo_model: Path, tmp_path: Path) -> None:
    """llama.cpp and ONNX Runtime GenAI drop or add a piece there (llama.cpp#3503), also in a chat template."""
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    config = {"tokenizer_class": "LlamaTokenizer", "chat_template": TEMPLATE}
    words = {"normalizer": None, "pre_tokenizer": metaspace}
    model = changed(demo_model, tmp_path / "model", words, config)
    ctx, original = parityrun.prepare(model, tmp_path)
    assert original.prepared.facts["portable"]
    found = {
        name: parityrun.conversion(parityrun.judge(ctx, original, name)) for name in ("llamacpp", "olive")
    }
    for one in found.values():
        assert one.passed, one.reason
        assert one.token_ids_equal is False and one.token_mismatch.value == 0.0
        assert "special tokens written in a text" in " ".join(one.notes)
        assert "rendered chat template" in " ".join(one.notes)


@pytest.mark.real
def test_another_vocabulary_disqualifies(demo_model: Path, tmp_path: Path) -> None:
    """llama.cpp reads tokenizer.model, the original tokenizer.json, whose merges are in another order here."""
    model = json.loads((demo_model / "tokenizer.json").read_text("utf-8"))["model"]
    model["merges"] = model["merges"][::-1]
    ctx, original = parityrun.prepare(changed(demo_model, tmp_path / "model", {"model": model}, {}), tmp_path)
    one = parityrun.conversion(parityrun.judge(ctx, original, "llamacpp"))
    assert not one.passed and "of the evaluation text" in one.reason
    assert one.token_mismatch.value is not None and one.token_mismatch.value > 0.05


@pytest.mark.real
def test_the_bundled_tokenizer_decodes_as_transformers_does(
    demo_model: Path, tmp_path: Path, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With clean-up of spaces, as Llama 3's tokenizers have it (transformers#35175)."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "backends"))
    model = changed(demo_model, tmp_path / "model", {}, {"clean_up_tokenization_spaces": True})
    text = "It isn ' t here . We 've seen it , haven 't we ? I 'm not , they 're not ! A ' b ' c n't 😀é"
    facts = run_worker(
        "pytorch", "pytorchfunctions:decoded", {"text": text}, {"model": model}, tmp_path / "out"
    )
    assert facts["sequences"] > 100 and facts["different"] == []
    assert facts["streamed"] == facts["whole"] != facts["uncleaned"]
    assert facts["long"] == 33
    assert not any(old in facts["whole"] for old, _ in CLEAN_UP[:4])


@pytest.mark.real
def test_the_bundled_tokenizer_keeps_no_texts(
    demo_model: Path, tmp_path: Path, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's cache of words would hold 4.6 kB for each text of a tokenizer that does not split them."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "backends"))
    words = {"words": "the sea and land of people was good when old ships sailed to an island"}
    facts = run_worker(
        "pytorch", "pytorchfunctions:kept_texts", words, {"model": demo_model}, tmp_path / "out"
    )
    assert facts["grown"] < 1e6, facts


@pytest.mark.real
@pytest.mark.parametrize(
    "names",
    [("llamacpp", "openvino"), pytest.param(parityrun.BACKENDS, marks=pytest.mark.long)],
    ids=["two", "all"],
)
def test_every_runtime_gets_the_ids_of_the_original(
    demo_model: Path, tmp_path: Path, run_worker: RunWorker, names: Sequence[str]
) -> None:
    """A prompt in the chat template, with the model's sampling, through the worker that `edgehone run` uses."""
    config = {"chat_template": TEMPLATE, "clean_up_tokenization_spaces": True}
    ctx, original = parityrun.prepare(changed(demo_model, tmp_path / "model", {}, config), tmp_path)
    tokenizer = original.prepared.out / "tokenizer"
    counts, texts = set(), set()
    for name in names:
        trial = parityrun.judge(ctx, original, name)
        assert trial.artifact, trial.error
        args = {"backend": registry.module_name(name), "settings": dict(trial.recipe.settings), "eos": [2]}
        asked = {"prompt": "What lives in </s> the sea?", "max_tokens": 24, "context": 1024}
        inputs = {"artifact": trial.artifact.out, "tokenizer": tokenizer}
        call = "edgehone.worker.generate:generate"
        facts = run_worker(name, call, {**args, **asked}, inputs, tmp_path / "out")
        assert facts["tokenizer"] == "original" and facts["template"]
        counts.add(facts["prompt_tokens"])
        texts.add(facts["text"])
        sampling = {"temperature": 1.5, "top_k": 0, "top_p": 0.95, "repetition_penalty": 1.1}
        drawn = [
            run_worker(
                name,
                call,
                {**args, **asked, "sampling": {**sampling, "seed": seed}},
                inputs,
                tmp_path / "out",
            )["text"]
            for seed in (1, 2)
        ]
        assert drawn[0] != drawn[1]
    assert len(counts) == 1 and len(texts) == 1  # the same ids, and the same answer in float32 and 16 bits
