"""A graph that hears: evaluated on a folder of WAV files, run on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgehone
from edgehone.backends.openvino import backend as openvino
from edgehone.inference.run_bundle import infer
from tests.recipes import only
from tests.sounds import RATE, tone, write_wave

LENGTH, HERTZ = 1600, (400.0, 1200.0)
TOML = """
[efforts.quick]
rounds = 2
seconds = 0.03
budget = 5.0
patience = 0.0
[audio]
seconds = 0.1
"""


@pytest.fixture
def listener(tmp_path: Path) -> Path:
    """scores [batch, 2]: the energy at each of two frequencies, by a discrete Fourier transform."""
    time = np.arange(LENGTH) / RATE
    waves = [part(2 * np.pi * hertz * time) for hertz in HERTZ for part in (np.sin, np.cos)]
    weights: dict[str, np.ndarray[Any, Any]] = {
        "waves": np.stack(waves, 1).astype(np.float32) / 100,
        "pairs": np.kron(np.eye(2), np.ones((2, 1))).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["sound", "waves"], ["parts"]),
        helper.make_node("Mul", ["parts", "parts"], ["squares"]),
        helper.make_node("MatMul", ["squares", "pairs"], ["scores"]),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("sound", LENGTH), ("scores", 2))
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_a_folder_of_sounds_a_class_a_folder(
    listener: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, openvino, "fp32", "int8_weights")
    rng = np.random.default_rng(0)
    for number in range(96):
        folder = tmp_path / "sounds" / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        # At other rates and lengths than the graph takes.
        rate = (RATE, 44100, 8000)[number % 3]
        heard = tone(HERTZ[number % 2], 0.12, rate) * rng.uniform(0.5, 1.0)
        write_wave(folder / f"{number}.wav", heard + rng.normal(0, 0.02, len(heard)), rate=rate)
    (tmp_path / "edgehone.toml").write_text(TOML)
    out = tmp_path / "bundle"
    decision = edgehone.optimize(
        listener,
        effort="quick",
        gates=("gain=off", "loss=off", "latency_cv=off"),
        evaluation=tmp_path / "sounds",
        backends=["openvino"],
        config_file=tmp_path / "edgehone.toml",
        out=out,
    )
    assert decision.baseline.figure("accuracy").value == 1.0
    bundle = edgehone.read(out)
    assert bundle.manifest.preprocessing is not None
    assert bundle.manifest.preprocessing["audio"]["seconds"] == 0.1
    infer(bundle, tmp_path / "sounds" / "1" / "7.wav", tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz") as file:
        assert file["scores"].shape == (1, 2) and file["scores"].argmax() == 1
