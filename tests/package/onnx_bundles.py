"""Bundles of ONNX graphs that ONNX Runtime ran: the digits classifier that ships, and a graph with a state."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgehone
from edgehone.backends import registry
from edgehone.bundle.schema import text_of
from edgehone.inputs import axes as sample_axes
from edgehone.inputs import samples
from edgehone.inputs.batches import Batches
from edgehone.worker import canaries
from tests.finished import Finished, list_again
from tests.serve.graphs import as_graph

DIGITS = Path(edgehone.__file__).parent / "data" / "digits" / "digits.onnx"
VERSIONS = {"onnxruntime": {"onnxruntime": "1.32.0", "onnx": "1.23.2"}}
OnnxBundle = Callable[..., Path]


@pytest.fixture
def onnx_bundle(_finished: Finished, tmp_path: Path) -> OnnxBundle:
    """Make a bundle of an ONNX file with canaries (requests and answers); `states` are inputs without samples."""

    def make(graph: Path, asked: list[tuple[dict[str, Any], dict[str, Any]]], **facts: Any) -> Path:
        bundle = Path(shutil.copytree(_finished.bundle, tmp_path / f"{graph.stem}-bundle"))
        shutil.rmtree(bundle / "artifact")
        (bundle / "artifact").mkdir()
        shutil.copyfile(graph, bundle / "artifact" / graph.name)
        canaries.write(bundle / "canaries", asked)
        inputs, outputs = ports(graph)
        found = sample_axes.find(list(map(samples.tensor, inputs)), list(map(samples.tensor, outputs)))
        recipe = {"backend": "onnxruntime", "name": "original", "settings": {}}
        as_graph(bundle, recipe, inputs, outputs, found.to_json())
        manifest = json.loads((bundle / "manifest.json").read_text())
        manifest |= {"versions": VERSIONS, "facts": facts}
        manifest["model"] |= {"name": graph.name}
        (bundle / "manifest.json").write_text(text_of(manifest))
        list_again(bundle)
        return bundle

    return make


def ports(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The inputs and outputs of an ONNX file, as a manifest has them."""
    from onnx import TensorProto, load

    names = {TensorProto.FLOAT: "float32", TensorProto.INT64: "int64"}

    def told(one: Any) -> dict[str, Any]:
        kind = one.type.tensor_type
        shape = [size.dim_param or size.dim_value for size in kind.shape.dim]
        return {"name": one.name, "dtype": names[kind.elem_type], "shape": shape, "ranked": True}

    graph = load(path).graph
    weights = {one.name for one in graph.initializer}
    return [told(one) for one in graph.input if one.name not in weights], list(map(told, graph.output))


@pytest.fixture
def digits_bundle(onnx_bundle: OnnxBundle, digits_answers: list[tuple[Any, Any]]) -> Path:
    """The digits classifier, with what ONNX Runtime answered for three samples."""
    return onnx_bundle(DIGITS, digits_answers, best_batch=16)


@pytest.fixture
def digits_answers(run_worker: Callable[..., Mapping[str, Any]], tmp_path: Path) -> list[tuple[Any, Any]]:
    """Three samples of digits with ONNX Runtime's answers, computed in its environment."""
    folder = tmp_path / "digits"
    folder.mkdir()
    shutil.copyfile(DIGITS, folder / DIGITS.name)
    return answers(run_worker, "onnxruntime", folder, tmp_path)


def answers(
    run_worker: Callable[..., Mapping[str, Any]], backend: str, artifact: Path, folder: Path
) -> list[tuple[Any, Any]]:
    """Return three samples of digits with a backend's answers by an artifact, computed in its environment."""
    with np.load(DIGITS.with_name("evaluation.npz")) as file:
        images = file["image"][:3]
    asked, answered = folder / "samples", folder / "answered"
    asked.mkdir()
    Batches.arranged({"image": images}, sample_axes.Axes()).write(asked)
    args = {"backend": registry.module_name(backend), "settings": {}, "batch": 1}
    inputs = {"artifact": artifact, "samples": asked}
    run_worker(backend, "edgehone.worker.canaries:outputs", args, inputs, answered)
    return canaries.read(answered / canaries.FOLDER)
