"""Checkpoints for converters: changed copies beside links to everything else, folders included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edgehone.backends.shared.plain_checkpoint import plain_checkpoint


def checkpoint(folder: Path, **config: Any) -> Path:
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **config}))
    weights = {"embeddings.weight": np.ones((4, 8), np.float32)}
    save_file(weights | {"embeddings.position_ids": np.arange(4)[None]}, folder / "model.safetensors")
    return folder


def test_a_changed_checkpoint_keeps_the_folders_of_its_modules(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "minilm", pad_token_id=-1)
    with plain_checkpoint(source, tmp_path / "work") as folder:
        assert folder.name == "minilm" and folder != source
        assert (folder / "1_Pooling" / "config.json").is_file()
        assert "pad_token_id" not in json.loads((folder / "config.json").read_text())
    assert not (tmp_path / "work").exists()
    assert (source / "1_Pooling" / "config.json").is_file() and "position_ids" in str(
        load_file(source / "model.safetensors").keys()
    )


def test_a_checkpoint_that_converters_read_is_given_as_it_is(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "plain")
    save_file({"embeddings.weight": np.ones((4, 8), np.float32)}, source / "model.safetensors")
    with plain_checkpoint(source, tmp_path / "work") as folder:
        assert folder == source


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_copies_are_deleted_whatever_happens(tmp_path: Path, error: type[BaseException]) -> None:
    source = checkpoint(tmp_path / "minilm", pad_token_id=-1)
    with pytest.raises(error), plain_checkpoint(source, tmp_path / "work"):
        raise error
    assert not (tmp_path / "work").exists() and (source / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("written", "published"),
    [
        ("model.visual.patch_embed.proj.weight", "visual.patch_embed.proj.weight"),
        (
            "model.vision_tower.vision_model.post_layernorm.bias",
            "vision_tower.vision_model.post_layernorm.bias",
        ),
        ("model.language_model.model.norm.weight", "language_model.model.norm.weight"),
        ("model.vision_model.post_layernorm.bias", "model.vision_model.post_layernorm.bias"),
        ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
    ],
)
def test_parts_of_vision_language_models_get_the_names_of_published_ones(
    tmp_path: Path, written: str, published: str
) -> None:
    source = checkpoint(tmp_path / "qwen", pad_token_id=-1)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_file({"lm_head.weight": np.ones((2, 3), np.float32), written: values}, source / "model.safetensors")
    with plain_checkpoint(source, tmp_path / "work") as folder:
        found = load_file(folder / "model.safetensors")
    assert set(found) == {"lm_head.weight", published}
    assert found[published].tolist() == values.tolist()


def test_the_language_model_of_an_idefics_is_named(tmp_path: Path) -> None:
    source = checkpoint(
        tmp_path / "idefics", model_type="idefics3", text_config={"model_type": "llama", "x": 1}
    )
    with plain_checkpoint(source, tmp_path / "work") as folder:
        text = json.loads((folder / "config.json").read_text())["text_config"]
    assert text == {"model_type": "llama", "x": 1, "architectures": ["LlamaForCausalLM"]}
