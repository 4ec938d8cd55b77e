"""The onnxruntime backend: supported models, and the real ONNX Runtime on the digits and on broken graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.onnxruntime import backend
from edgehone.model.demo import demo_graph
from tests.models import DIGITS as GRAPH
from tests.warmworkers.workers import Servers

RunWorker = Callable[..., dict[str, Any]]
BACKEND = "edgehone.backends.onnxruntime.backend"
DIGITS = demo_graph().parent


def test_an_onnx_graph_is_supported_without_notes() -> None:
    support = backend.supports(GRAPH)
    assert support.ok and support.reasons == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "huggingface"}, "huggingface"),
        (
            {"operators": ("Relu", "my.operators::Frobnicate", "com.microsoft::Gelu")},
            "my.operators::Frobnicate",
        ),
    ],
)
def test_an_unsupported_model_is_refused_with_the_offending_value(
    change: dict[str, Any], reason: str
) -> None:
    support = backend.supports(replace(GRAPH, **change))
    assert not support.ok
    assert reason in " ".join(support.reasons)
    assert "Gelu" not in " ".join(support.reasons)


def test_functions_written_by_the_exporter_are_not_custom_operators() -> None:
    assert backend.supports(replace(GRAPH, operators=("pkg.onnxscript.torch_lib::aten_mean",))).ok


def test_original_and_reference_share_their_links_and_differ_in_optimization() -> None:
    original, reference = backend.original(GRAPH), backend.reference(GRAPH)
    assert backend.steps(original) == backend.steps(reference)
    assert backend.steps(original).links
    assert original.settings["graph_optimization"] == "all"
    assert reference.settings["graph_optimization"] == "disabled"
    assert backend.recipes(GRAPH) == [original]


@pytest.mark.real
@pytest.mark.parametrize("model", [DIGITS, DIGITS / "digits.onnx"], ids=["folder", "file"])
def test_original_and_reference_classify_the_digits(
    model: Path, run_worker: RunWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_servers: Servers
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    linked = tmp_path / "linked"
    facts = run_worker("onnxruntime", f"{BACKEND}:link_original", {}, {"model": model}, linked)
    assert facts["opset"] == 18 and facts["quantized"] == {} and facts["weight_types"] == {"float": 4}
    assert facts["bytes"] == (DIGITS / "digits.onnx").stat().st_size
    inputs = {"artifact": linked, "samples": DIGITS / "evaluation.npz"}
    logits = {}
    for recipe in (backend.original(GRAPH), backend.reference(GRAPH)):
        out = tmp_path / recipe.name
        args = {"backend": BACKEND, "settings": dict(recipe.settings)}
        run = run_worker("onnxruntime", "graphfunctions:outputs", args, inputs, out)
        assert run["shapes"] == {"logits": [600, 10]} and run["dtypes"] == {"logits": "float32"}
        assert run["accuracy"] > 0.97
        logits[recipe.name] = np.load(out / "outputs.npz")["logits"]
    np.testing.assert_allclose(logits["original"], logits["reference"], atol=1e-4)
    # Telemetry would store its device id and events there, on import and while it runs.
    for cache in (warm_servers.caches, tmp_path / "cache"):
        assert not list(cache.glob("Microsoft/**/*"))


@pytest.mark.real
def test_external_weights_are_linked_and_found(
    run_worker: RunWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    model, linked, samples = tmp_path / "model", tmp_path / "linked", tmp_path / "samples.npz"
    written = run_worker("onnxruntime", "graphfunctions:external", {}, {}, model)
    assert written["files"] == ["model.onnx", "weights/m.data"]
    facts = run_worker("onnxruntime", f"{BACKEND}:link_original", {}, {"model": model / "model.onnx"}, linked)
    assert facts["bytes"] == sum((model / name).stat().st_size for name in written["files"])
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(samples, x=x)
    args = {"backend": BACKEND, "settings": {}}
    inputs = {"artifact": linked, "samples": samples}
    run_worker("onnxruntime", "graphfunctions:outputs", args, inputs, tmp_path / "out")
    np.testing.assert_allclose(np.load(tmp_path / "out" / "outputs.npz")["y"], x @ np.ones((3, 3)))


@pytest.mark.real
def test_a_fixed_batch_is_respected(
    run_worker: RunWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    results = run_worker("onnxruntime", "graphfunctions:fixed_batch", {}, {}, tmp_path / "out")
    assert results["equal"]
    assert "batches of exactly 2 samples; 5 were given" in results["five"]


@pytest.mark.real
def test_errors_name_what_is_wrong(
    run_worker: RunWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    errors = run_worker("onnxruntime", "graphfunctions:refusals", {}, {}, tmp_path / "out")
    expected = {
        "operator": "operators that ONNX Runtime does not have: Frobnicate (opset 13)",
        "too new an operator": "operators that ONNX Runtime does not have: Mish (opset 13)",
        "custom operator": "operators that ONNX Runtime does not have: my.operators::Frobnicate",
        "no kernel": "cannot open model.onnx: Could not find an implementation for Relu(1)",
        "no data": "are missing: model.data",
        "data outside": "weights outside its folder: ../model.data",
        "sequence": "'y' of model.onnx is a seq(tensor(float))",
        "not ONNX": "cannot be read as ONNX",
        "empty": "cannot be read as ONNX",
        "nothing": "no .onnx file at",
        "two": "has 2 ONNX files: a.onnx, b.onnx",
        "double": "the graph takes 'x' float32 [batch, 3]; the samples give float64 [2, 3]",
        "rank": "the samples give float32 [3]",
        "size": "the samples give float32 [2, 4]",
        "lacking": "the samples lack x; the graph's inputs are 'x' float32 [batch, 3]",
        "strange": "the samples have labels, which the graph does not take",
    }
    for name, message in expected.items():
        assert message in errors[name], errors[name]
        assert "Try: None" not in errors[name] or name == "no kernel"
    files = ("operator", "no data", "sequence", "not ONNX", "two")
    assert all(errors[name].startswith("ModelError") for name in files)
    assert all(errors[name].startswith("InputError") for name in ("double", "rank", "size", "lacking"))
