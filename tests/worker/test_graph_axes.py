"""Samples along other axes, shared inputs and whole outputs through the real ONNX Runtime; originals that differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgehone.inputs.axes import find
from edgehone.inputs.batches import Batches
from edgehone.model.inspect import inspect

RunWorker = Callable[..., dict[str, Any]]
BACKEND = "edgehone.backends.onnxruntime.backend"
X = np.random.default_rng(0).normal(size=(20, 30, 6)).astype(np.float32)
GAIN = np.array(2.0, np.float32)


def value(name: str, *shape: str | int, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], **weights: Any) -> Path:
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    path.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path / "m.onnx")
    return path


@pytest.fixture
def time_first(tmp_path: Path) -> Path:
    """y [batch, 6] = gain * the sum over time; steps [time, batch]; mean, one number for the whole batch."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "first"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "gain"], ["y"]),
        helper.make_node("ReduceSum", ["x", "last"], ["steps"], keepdims=0),
        helper.make_node("ReduceMean", ["y"], ["mean"], keepdims=0),
    ]
    outputs = [value("y", "N", 6), value("steps", "S", "N"), value("mean")]
    first, last = np.array([0]), np.array([2])
    inputs = [value("x", "S", "N", 6), value("gain")]
    return save(tmp_path / "model", nodes, inputs, outputs, first=first, last=last)


@pytest.mark.real
@pytest.mark.parametrize("batch", [1, 4])
def test_no_sample_is_cut_along_a_second_axis(
    run_worker: RunWorker, tmp_path: Path, time_first: Path, batch: int
) -> None:
    info = inspect(time_first / "m.onnx")
    axes = find(info.inputs, info.outputs)
    (tmp_path / "samples").mkdir()
    Batches.arranged({"x": X, "gain": GAIN}, axes).write(tmp_path / "samples")
    args = {"backend": BACKEND, "settings": {}, "batch": batch}
    inputs = {"artifact": time_first, "samples": tmp_path / "samples"}
    out = tmp_path / "out"
    facts = run_worker("onnxruntime", "edgehone.worker.score_graph:outputs", args, inputs, out)
    assert facts == {"outputs": ["y", "steps", "mean"], "samples": 30, "differs": None}
    y, steps, mean = (np.load(out / f"{index}.npy") for index in range(3))
    np.testing.assert_allclose(y, 2 * X.sum(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(steps, X.sum(2).T, rtol=1e-4, atol=1e-4)
    assert mean.shape == (30,) and len({*mean[:batch]}) == 1

    np.savez(tmp_path / "x.npz", x=X, gain=GAIN)
    given = {
        **args,
        "inputs": info.to_json()["inputs"],
        "axes": axes.to_json(),
        "output": str(tmp_path / "y.npz"),
    }
    files = {"artifact": time_first, "samples": tmp_path / "x.npz"}
    ran = run_worker("onnxruntime", "edgehone.worker.infer:infer", given, files, tmp_path / "infer")
    batches = -(-30 // batch)
    assert ran["outputs"] == {"y": [30, 6], "steps": [20, 30], "mean": [batches]}
    with np.load(tmp_path / "y.npz") as found:
        np.testing.assert_allclose(found["y"], y, rtol=1e-6)
        np.testing.assert_allclose(found["steps"], X.sum(2), rtol=1e-4, atol=1e-4)


RANDOM = {
    "noise": [
        helper.make_node("RandomNormalLike", ["x"], ["noise"], scale=0.05),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ],
    "dropout in training mode": [
        helper.make_node("Constant", [], ["on"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("Dropout", ["x", "", "on"], ["y"]),
    ],
    "dropout": [helper.make_node("Dropout", ["x"], ["y"])],
}


@pytest.mark.real
@pytest.mark.parametrize("name", RANDOM)
def test_an_original_that_differs_from_itself_is_told(
    run_worker: RunWorker, tmp_path: Path, name: str
) -> None:
    model = save(tmp_path / "model", RANDOM[name], [value("x", "N", 6)], [value("y", "N", 6)])
    (tmp_path / "samples").mkdir()
    Batches({"x": X[0]}, None).write(tmp_path / "samples")
    args = {"backend": BACKEND, "settings": {}, "batch": 1}
    inputs = {"artifact": model, "samples": tmp_path / "samples"}
    facts = run_worker("onnxruntime", "edgehone.worker.score_graph:outputs", args, inputs, tmp_path / "out")
    assert ("'y' differs by up to" in str(facts["differs"])) == (name != "dropout")
