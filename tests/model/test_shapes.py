"""Weights whose shapes are not those that config.json states, stored buffers, and files that toolchains misread."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edgehone.core.errors import ModelError
from edgehone.model.inspect import inspect
from edgehone.model.shapes import is_buffer

Write = Callable[[Path, Mapping[str, tuple[str, tuple[int, ...]]]], None]


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        inspect(path)
    return f"{caught.value.message} | {caught.value.hint}"


def edited(demo_model: Path, folder: Path, **fields: object) -> Path:
    """The demo model with other fields in config.json."""
    shutil.copytree(demo_model, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **fields}), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("fields", "tensor", "stored", "stated"),
    [
        (
            {"vocab_size": 4096},
            "model.embed_tokens.weight",
            "[2048, 256]",
            "(vocab_size 4096) it is [4096, 256]",
        ),
        (
            {"num_key_value_heads": 4},
            "model.layers.0.self_attn.k_proj.weight",
            "[128, 256]",
            "(num_key_value_heads 4) it is [256, 256]",
        ),
        (
            {"num_key_value_heads": 1, "head_dim": None},
            "model.layers.0.self_attn.k_proj.weight",
            "[128, 256]",
            "(num_key_value_heads 1) it is [64, 256]",
        ),
    ],
)
def test_weights_of_another_shape_are_refused_with_tensor_shapes_and_files(
    demo_model: Path, tmp_path: Path, fields: dict[str, object], tensor: str, stored: str, stated: str
) -> None:
    folder = edited(demo_model, tmp_path / "model", **fields)
    said = refused(folder)
    for part in (f"tensor {tensor!r}", stored, stated, str(folder / "config.json"), "model.safetensors"):
        assert part in said


def test_other_key_projections_in_some_layers_are_accepted(folder: Path, write: Write) -> None:
    keys = {f"model.layers.{i}.self_attn.k_proj.weight": ("BF16", (4 * (i + 1), 8)) for i in range(2)}
    write(folder / "model.safetensors", {"model.embed_tokens.weight": ("BF16", (32, 8)), **keys})
    assert inspect(folder).kv_heads == 2


@pytest.mark.parametrize(
    ("name", "shape", "buffer"),
    [
        ("h.0.attn.bias", (1, 1, 256, 256), True),
        ("transformer.h.11.attn.bias", (1, 1, 1024, 1024), True),
        ("gpt_neox.layers.3.attention.bias", (1, 1, 64, 64), True),
        ("h.0.attn.masked_bias", (), True),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", (32,), True),
        ("embeddings.position_ids", (1, 512), True),
        ("h.0.attn.c_attn.bias", (288,), False),
        ("h.0.attn.bias", (288,), False),
        ("wpe.weight", (256, 96), False),
        ("embeddings.position_embeddings.weight", (512, 96), False),
    ],
)
def test_masks_and_frequencies_are_buffers_and_biases_are_not(
    name: str, shape: tuple[int, ...], buffer: bool
) -> None:
    assert is_buffer(name, shape) is buffer


def test_stored_masks_are_not_counted_as_parameters(folder: Path, write: Write) -> None:
    tensors = {"model.embed_tokens.weight": ("BF16", (32, 8)), "h.0.attn.bias": ("F32", (1, 1, 64, 64))}
    write(folder / "model.safetensors", tensors)
    info = inspect(folder)
    assert info.parameters == 256 and info.dtypes == {"BF16": 256}
    assert "1 stored tensors are buffers (masks, positions), not parameters" in info.notes


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"]
)
def test_the_file_that_is_broken_is_named(folder: Path, name: str) -> None:
    text = (folder / name).read_text() if (folder / name).exists() else "{}"
    for content, problem in (("{broken", "not valid JSON"), ("\ufeff" + text, "byte order mark")):
        (folder / name).write_text(content, "utf-8")
        said = refused(folder)
        assert str(folder / name) in said and problem in said


def test_added_tokens_beyond_the_embedding_are_a_note(folder: Path) -> None:
    data = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    added = [{"id": 31, "content": "<in>"}, {"id": 32, "content": "<é>"}, {"id": 40, "content": "<tool>"}]
    (folder / "tokenizer.json").write_text(
        json.dumps({**data, "added_tokens": added}, ensure_ascii=False), "utf-8"
    )
    (note,) = inspect(folder).notes
    assert "'<é>' as id 32 and 1 more, beyond the 32 rows of the embedding" in note
    (folder / "tokenizer.json").write_text(json.dumps(data), "utf-8")
    assert inspect(folder).notes == ()
    (folder / "added_tokens.json").write_text('{"<x>": 32}', "utf-8")
    assert "'<x>' as id 32" in inspect(folder).notes[0]


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (6, "states 6 layers (0 to 5), and the weights lack layers 4, 5"),
        (5, "states 5 layers (0 to 4), and the weights lack layer 4 "),
        (3, "states 3 layers (0 to 2), and the weights also have layer 3 "),
    ],
)
def test_other_layers_than_stated_are_refused(
    demo_model: Path, tmp_path: Path, layers: int, said: str
) -> None:
    assert said in refused(edited(demo_model, tmp_path / "model", num_hidden_layers=layers))


def test_layers_that_predict_ahead_may_follow_the_last(demo_model: Path, tmp_path: Path) -> None:
    folder = edited(demo_model, tmp_path / "model", num_hidden_layers=3, num_nextn_predict_layers=1)
    assert inspect(folder).layers == 3
