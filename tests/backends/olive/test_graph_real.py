"""Olive's real passes on the digits, on odd graphs and on encoders."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import pytest

from edgehone.backends.olive import graph
from edgehone.inputs.axes import find
from edgehone.inputs.batches import Batches
from edgehone.model.demo import demo_graph
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from tests.backends.olive.olivegraphs import ENCODER, TEXT
from tests.models import DIGITS as GRAPH
from tests.realruns import RunWorker
from tests.warmworkers.workers import Servers

ROOT = Path(__file__).parents[3]
DIGITS = demo_graph().parent


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    folder = tmp_path / "calibration"
    folder.mkdir()
    np.savez(folder / "samples.npz", image=np.load(DIGITS / "calibration.npz")["image"])
    return folder


def _args(model: ModelInfo, names: set[str] | None = None) -> dict[str, Any]:
    chosen = [one for one in graph.graph_recipes(model) if names is None or one.name in names]
    assert names is None or len(chosen) == len(names)
    return {"recipes": {one.name: [dict(one.build), dict(one.settings)] for one in chosen}}


@pytest.mark.real
def test_every_recipe_classifies_the_digits(
    run_worker: RunWorker,
    tmp_path: Path,
    calibration: Path,
    monkeypatch: pytest.MonkeyPatch,
    warm_servers: Servers,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    inputs = {
        "model": DIGITS / "digits.onnx",
        "samples": DIGITS / "evaluation.npz",
        "calibration": calibration,
    }
    results = run_worker("olive", "olivegraphfunctions:build", _args(GRAPH), inputs, tmp_path / "out")
    outputs = np.load(tmp_path / "out" / "outputs.npz")
    for name, one in results.items():
        print(f"{name:24} {one['accuracy']:.4f} {one['facts']['bytes']:7} B {one['latency_us']:6.1f} µs")
        assert one["outputs"] == {"logits": [600, 10]}
        assert one["accuracy"] >= results["fp32"]["accuracy"] - 0.01
        assert one["facts"]["opset"] >= 18
    np.testing.assert_allclose(outputs["int8_dynamic"], outputs["fp32"], atol=0.3)
    np.testing.assert_allclose(outputs["fp16"], outputs["fp32"], atol=0.02)
    # Ranges of the samples may clip outputs, so most must be near, not all.
    for name in ("int8_static+ends_f32", "int8_static_percentile", "int8_static_entropy"):
        assert np.median(np.abs(outputs[name] - outputs["fp32"])) < 0.1

    fp32 = results["fp32"]["facts"]
    assert fp32["quantized"] == {} and fp32["weight_types"] == {"float": 4}
    static, ends = results["int8_static"]["facts"], results["int8_static+ends_f32"]["facts"]
    assert static["weight_types"] == {"int8": 4} and static["quantized"]["Gemm"] == 2
    assert ends["weight_types"] == {"int8": 3, "float": 1} and ends["quantized"]["Gemm"] == 1
    assert static["quantized"]["Conv"] == 2 and static["bytes"] < fp32["bytes"] / 3
    assert results["int8_dynamic"]["facts"]["quantized"] == {"MatMulInteger": 2}
    assert results["fp16"]["facts"]["weight_types"] == {"float16": 4}

    # Telemetry would store its device id and events there, on import and while it runs.
    for cache in (warm_servers.caches, tmp_path / "cache"):
        assert not list(cache.glob("Microsoft/**/*"))

    tuned_result = results["int8_static+session"]
    assert "session.json" in tuned_result["files"]
    sessions = tuned_result["facts"]["sessions"]
    assert (
        sessions[0]["settings"] == {}
        and sessions[0]["ratio"] == 1.0
        and all(one["ms"] > 0 for one in sessions)
    )
    assert tuned_result["facts"]["session"] in [one["settings"] for one in sessions]
    np.testing.assert_allclose(outputs["int8_static+session"], outputs["int8_static"], atol=1e-3)


def _network(
    kind: int, opset: int, weights_as_inputs: bool = False, constants: bool = False
) -> onnx.ModelProto:
    """y = (relu(x @ w + b)) @ v."""
    rng = np.random.default_rng(0)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    stored = {
        name: onnx.numpy_helper.from_array((rng.normal(size=shape) / 6).astype(dtype), name)
        for name, shape in (("w", (32, 64)), ("b", (64,)), ("v", (64, 8)))
    }
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["a"]),
        onnx.helper.make_node("Add", ["a", "b"], ["c"]),
        onnx.helper.make_node("Relu", ["c"], ["d"]),
        onnx.helper.make_node("MatMul", ["d", "v"], ["y"]),
    ]
    inputs = [onnx.helper.make_tensor_value_info("x", kind, ["N", 32])]
    if weights_as_inputs:
        inputs += [onnx.helper.make_tensor_value_info(n, kind, list(t.dims)) for n, t in stored.items()]
    outputs = [onnx.helper.make_tensor_value_info("y", kind, ["N", 8])]
    initializers = list(stored.values())
    if constants:
        initializers = []
        nodes = [
            *(onnx.helper.make_node("Constant", [], [name], value=one) for name, one in stored.items()),
            *nodes,
        ]
    made = onnx.helper.make_graph(nodes, "g", inputs, outputs, initializers)
    return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def _old(model: onnx.ModelProto) -> onnx.ModelProto:
    """As files of the first years: of a version in which weights had to be inputs of the graph, too."""
    model.ir_version = 3
    return model


def _built(
    run_worker: RunWorker, folder: Path, model: onnx.ModelProto, name: str, **feeds: Any
) -> dict[str, Any]:
    """Run the steps of a recipe on a graph; return the facts of the last one."""
    onnx.save(model, folder / "m.onnx")
    recipe = next(one for one in graph.graph_recipes(inspect(folder / "m.onnx")) if one.name == name)
    (folder / "calibration").mkdir()
    axes = find(inspect(folder / "m.onnx").inputs, [])
    Batches.arranged(feeds, axes).write(folder / "calibration")
    sources = {"model": folder / "m.onnx", "calibration": folder / "calibration"}
    steps = [graph.graph_steps(recipe)]
    while "graph" in steps[0].inputs:
        steps.insert(0, steps[0].inputs["graph"])
    facts: dict[str, Any] = {}
    for number, step in enumerate(steps):
        inputs = {one: sources[one] for one in step.reads}
        inputs |= {"graph": folder / f"step{number - 1}"} if number else {}
        facts = run_worker("olive", step.call, dict(step.params), inputs, folder / f"step{number}")
        if "nothing_to_gain" in facts:
            break
    return facts


@pytest.mark.real
@pytest.mark.parametrize(
    "model",
    [
        _network(onnx.TensorProto.FLOAT, 11),
        _old(_network(onnx.TensorProto.FLOAT, 7, weights_as_inputs=True)),
        _network(onnx.TensorProto.FLOAT16, 17),
        _network(onnx.TensorProto.FLOAT, 13, weights_as_inputs=True),
        _network(onnx.TensorProto.FLOAT, 13, constants=True),
    ],
    ids=[
        "opset 11",
        "opset 7 in the old form",
        "float16",
        "weights listed as inputs",
        "weights in Constant nodes",
    ],
)
def test_every_weight_of_an_odd_graph_is_really_quantized(
    run_worker: RunWorker, tmp_path: Path, model: onnx.ModelProto
) -> None:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    x = np.random.default_rng(1).normal(size=(24, 32)).astype(dtype)
    facts = _built(run_worker, tmp_path, model, "int8_static", x=x)
    assert facts["quantized_share"] == 1.0 and "nothing_to_gain" not in facts
    assert facts["opset"] >= 13


@pytest.mark.real
def test_a_time_axis_first_and_a_shared_number_calibrate(run_worker: RunWorker, tmp_path: Path) -> None:
    """The samples are along the second axis, and the gain is one number for all."""
    model = _network(onnx.TensorProto.FLOAT, 13)
    graph_ = model.graph
    time_first = onnx.helper.make_tensor_value_info("t", 1, ["time", "batch", 32])
    gain = onnx.helper.make_tensor_value_info("gain", 1, [])
    sums = onnx.numpy_helper.from_array(np.array([0], np.int64), "axes")
    del graph_.input[:]
    graph_.input.extend([time_first, gain])
    graph_.initializer.append(sums)
    nodes = [
        onnx.helper.make_node("ReduceSum", ["t", "axes"], ["s"], keepdims=0),
        onnx.helper.make_node("Mul", ["s", "gain"], ["x"]),
        *graph_.node,
    ]
    del graph_.node[:]
    graph_.node.extend(nodes)
    t = np.random.default_rng(1).normal(size=(5, 24, 32)).astype(np.float32)
    facts = _built(run_worker, tmp_path, model, "int8_static", t=t, gain=np.array(0.5, np.float32))
    assert facts["quantized_share"] == 1.0


@pytest.mark.real
def test_weights_that_a_quantizer_does_not_see_are_told(run_worker: RunWorker, tmp_path: Path) -> None:
    """Weights in the branches of If stay in floats: the facts say so, and the core skips the recipe."""
    inner = [
        onnx.compose.add_prefix_graph(_network(onnx.TensorProto.FLOAT, 13).graph, f"{name}_")
        for name in ("then", "else")
    ]
    for branch, name in zip(inner, ("then", "else"), strict=True):
        del branch.input[:]
        for node in branch.node:
            node.input[:] = ["x" if one == f"{name}_x" else one for one in node.input]
    nodes = [onnx.helper.make_node("If", ["which"], ["y"], then_branch=inner[0], else_branch=inner[1])]
    inputs = [
        onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 32]),
        onnx.helper.make_tensor_value_info("which", onnx.TensorProto.BOOL, []),
    ]
    outputs = [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 8])]
    made = onnx.helper.make_graph(nodes, "g", inputs, outputs)
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    x = np.random.default_rng(1).normal(size=(24, 32)).astype(np.float32)
    facts = _built(run_worker, tmp_path, model, "int8_dynamic", x=x, which=np.array(True))
    assert facts["quantized_share"] in (0.0, 1.0)
    assert "nothing_to_gain" in facts or facts["quantized_share"] == 1.0


@pytest.mark.real
@pytest.mark.parametrize("task", ["feature-extraction", "text-classification"])
def test_an_encoder_is_exported_and_quantized(
    task: str,
    make_encoder: Callable[[str], Path],
    run_worker: RunWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    folder, original_folder = make_encoder(task), tmp_path / "given"
    original_facts = run_worker(
        "olive", "olivegraphfunctions:original", {"task": task}, {"model": folder}, original_folder
    )
    assert set(original_facts["inputs"]) == {one.name for one in TEXT} and original_facts["shape"][-1] == (
        64 if task == "feature-extraction" else 3
    )
    args = _args(
        replace(ENCODER, task=task),
        {"fp32", "fp32_fused", "int8_dynamic+fused", "int8_static_matmul", "fp16_mixed"},
    )
    inputs = {"model": folder, "samples": original_folder / "samples.npz", "calibration": original_folder}
    results = run_worker("olive", "olivegraphfunctions:build", args, inputs, tmp_path / "out")
    original, outputs = np.load(original_folder / "original.npy"), np.load(tmp_path / "out" / "outputs.npz")
    name = "logits" if task == "text-classification" else "last_hidden_state"
    assert {json.dumps(one["outputs"]) for one in results.values()} == {
        json.dumps({name: list(original.shape)})
    }
    for exact in ("fp32", "fp32_fused"):
        np.testing.assert_allclose(outputs[exact], original, atol=1e-4)
    np.testing.assert_allclose(outputs["fp16_mixed"], original, atol=0.05)
    for quantized in ("int8_dynamic+fused", "int8_static_matmul"):
        assert np.corrcoef(outputs[quantized].ravel(), original.ravel())[0, 1] > 0.98
    assert results["fp32_fused"]["facts"]["operators"]["SkipLayerNormalization"] == 4
    assert results["int8_dynamic+fused"]["facts"]["quantized"]["MatMulInteger"] >= 12
    assert results["int8_static_matmul"]["facts"]["quantized"]["MatMul"] >= 12
    assert results["int8_dynamic+fused"]["facts"]["bytes"] < results["fp32"]["facts"]["bytes"] / 2
    assert (
        b"site-packages" not in next((tmp_path / "out" / "steps").glob("*-prepare/model.onnx")).read_bytes()
    )


@pytest.mark.real
def test_errors_name_what_is_wrong(
    run_worker: RunWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    errors = run_worker("olive", "olivegraphfunctions:refusals", {}, {"graph": DIGITS}, tmp_path / "out")
    expected = {
        "dtype": "TextError: the graph takes 'image' as float32 of rank 4; the calibration samples give float64",
        "rank": "the calibration samples give float32 [1, 8, 8]",
        "name": "TextError: the calibration samples have picture, not the input 'image'",
        "none": "the calibration samples give float32 [0, 1, 8, 8]",
        "size": "JobError: Olive's OnnxStaticQuantization failed: InvalidArgument",
        "no file": "samples.npz cannot be read",
        "fixed batch": "nothing",
        "nothing to fuse": "JobError: Olive's OrtTransformersOptimization found nothing to change in this graph",
        "unknown kind": "JobError: Olive's OrtTransformersOptimization did not change the graph",
        "raises": "mutually exclusive",
    }
    for name, message in expected.items():
        assert message in errors[name], errors[name]
    external = json.loads(errors["external weights"])  # a graph with external weights, read through links
    assert external["sum"] == 18.0 and external["facts"]["operators"] == {"MatMul": 1}
    assert "are missing: m.data" in external["error"]
