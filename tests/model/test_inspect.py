from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edgehone.core.errors import ModelError
from edgehone.model.inspect import inspect

Write = Callable[[Path, Mapping[str, tuple[str, tuple[int, ...]]]], None]


def refused(path: str | Path) -> str:
    with pytest.raises(ModelError) as caught:
        inspect(path)
    return f"{caught.value.message} | {caught.value.hint}"


def test_a_missing_folder_shows_the_path(tmp_path: Path) -> None:
    said = refused(tmp_path / "nothing")
    assert "no such model folder" in said and "nothing" in said and "--download" not in said


def test_a_hub_name_hints_at_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--download" in refused("some-org/Some.Model-1b")


@pytest.mark.parametrize("name", ["../x/y/z", "", "a\0b", "x" * 5000])
def test_odd_paths(name: str) -> None:
    refused(name or "./missing/")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m.gguf", "not a valid GGUF file"),
        ("m.onnx", "not a valid ONNX file"),
        ("m.pt2", "not a valid exported program"),
        ("m.bin", "pickle"),
        ("m.safetensors", "weight file alone"),
        ("m", "a file"),
    ],
)
def test_a_file_is_not_a_folder(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert said in refused(tmp_path / name)


def test_a_weight_file_hints_at_its_folder(folder: Path) -> None:
    assert f"give its folder: {folder}" in refused(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "said"), [("model.onnx", "not a valid ONNX file"), ("x.txt", "no config.json")]
)
def test_a_folder_without_config(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert said in refused(tmp_path)


ONNX = b"\x08\x08\x3a\x05\x62\x03\x0a\x01y"  # the smallest there is: IR version 8, a graph with the output y


def test_a_folder_with_several_models_is_refused(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.ONNX"):
        (tmp_path / name).write_bytes(ONNX)
    said = refused(tmp_path)
    assert (
        "holds 2 models: a.onnx, b.ONNX" in said
        and f"give the path of one of them: {tmp_path / 'a.onnx'}" in said
    )
    assert inspect(tmp_path / "b.ONNX").format == "onnx"


def test_a_checkpoint_with_an_exported_file_is_read_as_a_checkpoint(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(ONNX)
    assert inspect(folder).format == "huggingface"
    (folder / "model.safetensors").unlink()
    assert inspect(folder).format == "onnx"


CHILD = """
import json, sys
from edgehone.model.inspect import inspect
info = inspect(sys.argv[1])
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps({"info": info.to_json(), "peak": int(peak[0]) * 1024}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs sparse files and /proc")
def test_100_gb_in_shards_by_headers_only(folder: Path, write: Write) -> None:
    (folder / "model.safetensors").unlink()
    shards, rows = 20, 1_250_000
    weight_map = {}
    for number in range(shards):
        shard = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        tensors = {f"model.layers.{number}.{part}.weight": ("BF16", (rows, 1)) for part in range(2000)}
        write(folder / shard, tensors)
        weight_map.update(dict.fromkeys(tensors, shard))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    answer = json.loads(done.stdout)
    assert answer["info"]["parameters"] == shards * 2000 * rows
    assert answer["info"]["bytes"] > 100e9
    assert answer["info"]["dtypes"] == {"BF16": shards * 2000 * rows}
    assert answer["peak"] < 200e6
