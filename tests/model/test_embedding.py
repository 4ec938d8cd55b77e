"""How a folder of sentence-transformers says that a text becomes a vector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgehone.model.embedding import read_embedding

MODULES = [
    {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
PROMPT = {"prompts": {"q": "query: "}, "default_prompt_name": "q"}
MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


def folder(path: Path, **files: Any) -> Path:
    """Write JSON files; a dot of a name is `__`, a slash `___`."""
    told = {
        "config": {"model_type": "bert", "max_position_embeddings": 512},
        "modules": MODULES,
        "1_Pooling___config": MEAN,
    }
    for name, content in {**told, **files}.items():
        file = path / f"{name.replace('___', '/')}.json"
        file.parent.mkdir(exist_ok=True)
        if content is not None:
            file.write_text(json.dumps(content))
    return path


def test_mean_of_all_tokens_scaled(tmp_path: Path) -> None:
    path = folder(tmp_path, sentence_bert_config={"max_seq_length": 256, "do_lower_case": False})
    assert read_embedding(path) == {"pooling": "mean", "normalize": True, "max_tokens": 256, "prompt": ""}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"modules": MODULES[:2]}, {"normalize": False, "max_tokens": 512}),
        ({"1_Pooling___config": {"pooling_mode_cls_token": True}}, {"pooling": "cls"}),
        ({"1_Pooling___config": {"pooling_mode": "lasttoken"}}, {"pooling": "lasttoken"}),
        ({"config": {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}}, {"max_tokens": 512}),
        ({"tokenizer_config": {"model_max_length": 128}}, {"max_tokens": 128}),
        ({"tokenizer_config": {"model_max_length": 1e30}}, {"max_tokens": 512}),
        ({"config_sentence_transformers": PROMPT}, {"prompt": "query: "}),
        ({"config_sentence_transformers": {**PROMPT, "default_prompt_name": None}}, {"prompt": ""}),
    ],
)  # fmt: skip
def test_what_else_is_known(tmp_path: Path, files: dict[str, Any], expected: dict[str, Any]) -> None:
    found = read_embedding(folder(tmp_path, **files))
    assert {name: found.get(name) for name in expected} == expected, found


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"modules": None}, "no modules.json"),
        ({"modules": [*MODULES, {"type": "sentence_transformers.models.Dense"}]}, "Normalize → Dense"),
        ({"1_Pooling___config": {**MEAN, "pooling_mode_cls_token": True}}, "its pooling is cls and mean"),
        ({"1_Pooling___config": {"pooling_mode_weightedmean_tokens": True}}, "its pooling is weightedmean"),
        ({"1_Pooling___config": {}}, "its pooling is not stated"),
        ({"sentence_bert_config": {"do_lower_case": True}}, "asks for lower case"),
        (
            {
                "1_Pooling___config": {**MEAN, "include_prompt": False},
                "config_sentence_transformers": PROMPT,
            },
            "leaves the tokens of the prompt out",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_by_name(tmp_path: Path, files: dict[str, Any], why: str) -> None:
    assert why in read_embedding(folder(tmp_path, **files))["refused"]
