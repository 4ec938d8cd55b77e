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
