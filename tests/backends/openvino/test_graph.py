"""Graphs in the openvino backend: supported models, recipes, build steps, and the real toolchain on small networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.backends.base import Recipe
from edgehone.backends.openvino import backend, graph_quantize, graph_session, session
from edgehone.core.errors import EdgehoneError
from edgehone.model.info import ModelInfo, Tensor

RunWorker = Callable[..., dict[str, Any]]
GRAPH = "edgehone.backends.openvino.graph"

NET = ModelInfo(
    path=Path("net.onnx"),
    format="onnx",
    architecture="net",
    model_type="onnx",
    task="graph",
    parameters=5210,
    bytes=21_000,
    dtypes={"F32": 5210},
    files=("net.onnx",),
    inputs=(Tensor("image", "float32", ("batch", 1, 8, 8)), Tensor("scale", "float32", ("batch",))),
    outputs=(Tensor("probabilities", "float32", ("batch", 10)), Tensor("mean", "float32", ("batch",))),
    opset=20,
    operators=("Conv", "Flatten", "Gemm", "Mul", "ReduceMean", "Relu", "Softmax", "Unsqueeze"),
)
BERT = replace(
    NET,
    path=Path("bert"),
    format="huggingface",
    architecture="BertForSequenceClassification",
    model_type="bert",
    task="text-classification",
    inputs=tuple(
        Tensor(name, "int64", ("batch", "sequence"))
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ),
    outputs=(Tensor("logits", "float32", ("batch", 3)),),
    operators=(),
)


@pytest.mark.parametrize("model", [NET, BERT, replace(NET, format="torch-export", path=Path("net.pt2"))])
def test_graphs_are_supported_without_notes(model: ModelInfo) -> None:
    support = backend.supports(model)
    assert support.ok and support.reasons == ()


@pytest.mark.parametrize(
    ("model", "change", "reason"),
    [
        (NET, {"format": "tflite"}, "tflite"),
        (NET, {"operators": ("ai.onnx.ml::TreeEnsemble", "Cast")}, "ai.onnx.ml::TreeEnsemble"),
        (NET, {"quantized": "qdq"}, "qdq"),
        (NET, {"inputs": (Tensor("words", "str", (None,)),)}, "'words' is text"),
        (BERT, {"model_type": "unheard_of"}, "unheard_of"),
        (BERT, {"task": "token-classification"}, "token-classification"),
        (BERT, {"remote_code": True}, "custom code"),
    ],
)
def test_an_unsupported_graph_is_refused_with_the_offending_value(
    model: ModelInfo, change: dict[str, Any], reason: str
) -> None:
    support = backend.supports(replace(model, **change))
    assert not support.ok
    assert reason in " ".join(support.reasons)


@pytest.mark.parametrize("model", [NET, BERT])
def test_the_exact_recipe_comes_first_and_names_are_unique(model: ModelInfo) -> None:
    recipes = backend.recipes(model)
    assert recipes[0].exact and [recipe.exact for recipe in recipes].count(True) == 1
    assert recipes[0].settings == {"inference_precision": "f32"}
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert len({json.dumps(recipe.to_json() | {"name": ""}) for recipe in recipes}) == len(recipes)
    assert all(recipe.why for recipe in recipes)
    kinds = {recipe.build["model_type"] for recipe in recipes if recipe.calibrated}
    assert kinds == {"transformer" if model is BERT else "other"}


def test_all_recipes_share_the_conversion_and_only_calibrated_ones_read_samples() -> None:
    first, *others = [backend.steps(recipe) for recipe in backend.recipes(NET)]
    assert first.call == f"{GRAPH}:convert" and first.reads == ("model",)
    for recipe, step in zip(backend.recipes(NET)[1:], others, strict=True):
        assert step.inputs["fp32"] == first
        assert ("calibration" in step.reads) == recipe.calibrated


def test_settings_become_properties() -> None:
    properties = session.common({"inference_precision": "f32", "streams": 2}, 3)
    assert (
        properties["INFERENCE_NUM_THREADS"],
        properties["NUM_STREAMS"],
        properties["INFERENCE_PRECISION_HINT"],
    ) == (
        3,
        2,
        "f32",
    )
    assert "INFERENCE_PRECISION_HINT" not in session.common({}, 1)


@given(rows=st.integers(1, 20), batch=st.none() | st.integers(1, 7))
def test_samples_are_split_into_full_batches_in_order(rows: int, batch: int | None) -> None:
    feeds = {"a": np.arange(rows), "b": np.ones((rows, 2))}
    parts = list(graph_session.split(feeds, batch))
    assert all(len(part["a"]) == len(part["b"]) == (batch or rows) for part in parts)
    joined = np.concatenate([part["a"] for part in parts])
    assert joined[:rows].tolist() == list(range(rows)) and set(joined[rows:]) <= {rows - 1}


def test_cosine_similarity_is_averaged_over_outputs() -> None:
    ones, zeros = np.ones(3), np.zeros(3)
    cosine = graph_quantize._cosine_similarity
    assert cosine([ones * 5, zeros], [ones, zeros]) == pytest.approx(1)
    assert cosine([ones, -ones], [ones, ones]) == pytest.approx(0)
    assert cosine([zeros], [ones]) == 0


class Builder:
    """Build recipes of one model in the real environment, and run them.

    `data` contains the samples, the inputs of a run, and the expected outputs.
    """

    def __init__(
        self, run_worker: RunWorker, model: Path, data: Path, folder: Path, rename: dict[str, str]
    ) -> None:
        self.run, self.model, self.data, self.folder, self.rename = run_worker, model, data, folder, rename

    def build(self, recipe: Recipe) -> dict[str, Any]:
        step = backend.steps(recipe)
        inputs = {"model": self.model} if recipe.exact else {"fp32": self.folder / "fp32"}
        if recipe.calibrated:
            inputs["calibration"] = self.data / "samples"
        return self.run("openvino", step.call, dict(step.params), inputs, self.folder / recipe.name)

    def ask(self, recipe: Recipe, *, cold: bool = False) -> dict[str, Any]:
        inputs = {"artifact": self.folder / recipe.name}
        inputs |= {name: self.data / f"{name}.npz" for name in ("asked", "answers")}
        args = {"settings": dict(recipe.settings), "rename": self.rename}
        return self.run("openvino", "openvinofunctions:ask", args, inputs, self.folder / "asked", cold=cold)


@pytest.fixture
def own_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


@pytest.mark.real
@pytest.mark.usefixtures("own_functions")
def test_a_network_is_converted_quantized_and_run(run_worker: RunWorker, tmp_path: Path) -> None:
    data = tmp_path / "made"
    run_worker("openvino", "openvinofunctions:make_graphs", {}, {}, data)
    by_name = {recipe.name: recipe for recipe in backend.recipes(NET)}

    # The model is first given as a file, later as its folder.
    builder = Builder(run_worker, data / "net.onnx", data, tmp_path / "onnx", {})
    facts = builder.build(by_name["fp32"])
    assert facts["weight_types"] == {"f32": 2}
    outputs = builder.ask(by_name["fp32"], cold=True)
    assert outputs["outputs"] == ["probabilities", "mean"] and outputs["shapes"] == [[5, 10], [5]]
    assert outputs["difference"] < 1e-6 and not outputs["torch"]
    assert "image, scale, not nothing" in outputs["refused"]

    # Measured: 0.00023 with 8-bit weights, 0.067 with 8-bit activations, 0.065 with accuracy control.
    for name, most in (("int8_weights", 2e-3), ("int8_performance", 0.2), ("int8_mixed+control", 0.2)):
        facts = builder.build(by_name[name])
        assert builder.ask(by_name[name])["difference"] < most
        assert facts["bytes"] == sum(path.stat().st_size for path in (tmp_path / "onnx" / name).iterdir())
        assert set(facts["weight_types"]) == {"u8" if name == "int8_weights" else "i8"}
        if name != "int8_weights":
            assert facts["fake_quantize"] and facts["layers_int8"] == facts["layers"] == 2
    assert facts["agreement"]["original"] == pytest.approx(1) and facts["agreement"]["built"] > 0.999

    fixed = replace(NET, path=Path("fixed.onnx"))
    builder = Builder(run_worker, data, data, tmp_path / "fixed", {})
    for recipe in backend.recipes(fixed)[:2]:
        builder.build(recipe)
        assert builder.ask(recipe)["shapes"] == [[5, 10], [5]]  # five rows through a batch of two

    names = (Tensor("softmax", "float32", ("batch", 10)), Tensor("mean", "float32", ("batch",)))
    program = replace(NET, format="torch-export", path=Path("net.pt2"), outputs=names)
    exact = backend.recipes(program)[0]
    builder = Builder(run_worker, data / "net.pt2", data, tmp_path / "pt2", {})
    builder.build(exact)
    outputs = builder.ask(exact)
    assert outputs["outputs"] == ["softmax", "mean"] and outputs["difference"] < 1e-6

    wrong = replace(program, outputs=program.outputs[:1])
    with pytest.raises(EdgehoneError, match="the IR has 2 outputs"):
        builder.build(backend.recipes(wrong)[0])


@pytest.mark.real
@pytest.mark.usefixtures("own_functions")
def test_an_encoder_is_exported_quantized_and_run(run_worker: RunWorker, tmp_path: Path) -> None:
    data = tmp_path / "made"
    run_worker("openvino", "openvinofunctions:make_encoder", {}, {}, data)
    builder = Builder(run_worker, data / "encoder", data, tmp_path / "built", {})
    exact, quantized = backend.recipes(BERT)[:2]
    assert quantized.name == "int8_mixed"
    builder.build(exact)
    outputs = builder.ask(exact)
    assert outputs["outputs"] == ["logits"] and outputs["shapes"] == [[3, 3]] and outputs["difference"] < 1e-5
    facts = builder.build(quantized)
    assert facts["layers_int8"] >= 12  # six products with weights in each of two layers
    assert builder.ask(quantized)["difference"] < 0.1

    with np.load(data / "asked.npz") as inputs:
        np.savez(data / "asked.npz", **{name: inputs[name] for name in ("input_ids", "attention_mask")})
    untyped = backend.recipes(replace(BERT, inputs=BERT.inputs[:2]))[0]
    untyped_builder = Builder(run_worker, data / "encoder", data, tmp_path / "untyped", {})
    untyped_builder.build(untyped)
    assert untyped_builder.ask(untyped)["difference"] < 1e-5  # missing token types are zeros


@pytest.mark.real
@pytest.mark.usefixtures("own_functions")
def test_a_pickle_in_an_archive_is_not_run(run_worker: RunWorker, tmp_path: Path) -> None:
    facts = run_worker("openvino", "openvinofunctions:open_hostile", {}, {}, tmp_path / "out")
    assert facts["sound"] == "ExportedProgram"
    assert facts["edgehone_error"].startswith("ModelError") and not facts["edgehone_ran"]
    assert facts["torch_ran"]  # otherwise the test would prove nothing
