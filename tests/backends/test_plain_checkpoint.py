"""What llama.cpp's converter cannot read is taken out of the checkpoint that it gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edgehone.backends.shared.plain_checkpoint import plain_checkpoint
from tests import parityrun


def model(folder: Path, **config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_ctx": 8, **config}))
    weights: dict[str, Any] = {
        "wte.weight": np.arange(12, dtype=np.float16).reshape(4, 3),
        "h.0.ln_1.bias": np.ones(3, np.float32),
    }
    masks = {"h.0.attn.bias": np.ones((1, 1, 8, 8), np.float32)}
    save_file(weights, folder / "model-00001-of-00002.safetensors")
    save_file(
        {"h.0.ln_1.weight": np.zeros(3, np.float32), **masks}, folder / "model-00002-of-00002.safetensors"
    )
    parts = dict.fromkeys(weights, "model-00001-of-00002.safetensors")
    parts |= dict.fromkeys(("h.0.ln_1.weight", *masks), "model-00002-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    return folder


def test_masks_are_left_out_and_the_rest_is_kept(tmp_path: Path) -> None:
    source = model(tmp_path / "gpt2")
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    with plain_checkpoint(source, tmp_path / "work") as folder:
        assert folder.name == "gpt2"  # the converter writes it as the model's name
        first, second = (load_file(path) for path in sorted(folder.glob("*.safetensors")))
        assert first["wte.weight"].tolist() == np.arange(12).reshape(4, 3).tolist()
        assert list(second) == ["h.0.ln_1.weight"]
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        assert set(index["weight_map"]) == {"wte.weight", "h.0.ln_1.bias", "h.0.ln_1.weight"}
    assert not (tmp_path / "work").exists()
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


@pytest.mark.parametrize("name", ["pad_token_id", "eos_token_id", "decoder_start_token_id"])
def test_ids_of_minus_one_are_left_out(tmp_path: Path, name: str) -> None:
    source = model(tmp_path / "model", **{name: -1, "bos_token_id": 1})
    with plain_checkpoint(source, tmp_path / "work") as folder:
        config = json.loads((folder / "config.json").read_text())
    assert name not in config and config["bos_token_id"] == 1


def test_a_plain_checkpoint_is_used_as_it_is(tmp_path: Path, demo_model: Path) -> None:
    with plain_checkpoint(demo_model, tmp_path / "work") as folder:
        assert folder == demo_model
    assert not (tmp_path / "work").exists()


@pytest.mark.real
def test_a_pad_token_of_minus_one_keeps_no_backend_out(demo_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in demo_model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = {**json.loads((folder / "config.json").read_text()), "pad_token_id": -1}
    (folder / "config.json").write_text(json.dumps(config))
    ctx, original = parityrun.prepare(folder, tmp_path)
    for name in parityrun.BACKENDS:
        one = parityrun.conversion(parityrun.judge(ctx, original, name))
        assert one.passed, f"{name}: {one.reason}"
