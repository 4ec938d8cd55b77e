"""Tokenizers that runtimes read differently than the original does where it does not matter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import parityrun

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
