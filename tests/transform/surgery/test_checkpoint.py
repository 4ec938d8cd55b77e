"""Rewriting checkpoints: kept weights are identical, removed ones are gone, and the header is valid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import ModelError
from edgehone.formats.safetensors import read_header
from edgehone.transform.surgery import checkpoint
from edgehone.transform.surgery.checkpoint import Kept


def write(path: Path, tensors: dict[str, tuple[list[int], bytes]]) -> None:
    header, at = {}, 0
    for name, (shape, raw) in tensors.items():
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(raw for _, raw in tensors.values()))


def content(path: Path, name: str) -> bytes:
    raw = path.read_bytes()
    tensor = read_header(path)[name]
    start = 8 + int.from_bytes(raw[:8], "little")
    return raw[start + tensor.start : start + tensor.end]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("[]")
    (folder / "modeling.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    return folder


@given(
    rows=st.integers(1, 9),
    width=st.integers(1, 5),
    data=st.data(),
)
def test_kept_rows_equal_those_of_the_original(
    rows: int, width: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = data.draw(st.binary(min_size=rows * width, max_size=rows * width))
    kept = sorted(data.draw(st.sets(st.integers(0, rows - 1))))
    folder = tmp_path_factory.mktemp("rows")
    out = folder / "out"
    out.mkdir()
    write(folder / "model.safetensors", {"a": ([rows, width], raw), "b": ([3], b"xyz")})
    checkpoint.rewrite(folder, out, {}, lambda name, _: Kept("c", kept) if name == "a" else Kept(name))
    written = out / "model.safetensors"
    assert read_header(written)["c"].shape == (len(kept), width)
    assert content(written, "c") == b"".join(raw[i * width : (i + 1) * width] for i in kept)
    assert content(written, "b") == b"xyz"


def test_shards_keep_their_names_and_the_index_lists_the_new_tensor_names(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(source / "model-1.safetensors", {"x.1": ([2], b"ab"), "x.2": ([2], b"cd")})
    write(source / "model-2.safetensors", {"x.3": ([2], b"ef")})
    (source / checkpoint.INDEX).write_text("{}")
    renamed = {"x.1": None, "x.2": Kept("x.1"), "x.3": None}
    facts = checkpoint.rewrite(source, out, {"layers": 1}, lambda name, _: renamed[name])
    assert facts == {"bytes": 2, "parameters": 2}
    # Shards without tensors are not written, and files that run code are not copied.
    assert {path.name for path in out.iterdir()} == {
        "config.json", "tokenizer.json", "model-1.safetensors", checkpoint.INDEX,
    }  # fmt: skip
    index = json.loads((out / checkpoint.INDEX).read_text())
    assert index == {"metadata": {"total_size": 2}, "weight_map": {"x.1": "model-1.safetensors"}}
    assert json.loads((out / "config.json").read_text()) == {"layers": 1, "_name_or_path": "source"}
    assert content(out / "model-1.safetensors", "x.1") == b"cd"


def test_a_folder_without_weights_and_a_damaged_file_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no safetensors"):
        checkpoint.tensors(source)
    (source / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ModelError, match="valid safetensors"):
        checkpoint.rewrite(source, tmp_path, {}, lambda name, _: Kept(name))
