"""Bundles of graphs to serve, and what tests ask of a server of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import edgehone
from edgehone.backends.null.graph import NullGraphSession, make_graph
from edgehone.bundle.schema import text_of
from edgehone.worker import canaries
from tests.finished import list_again

FEATURES, CLASSES = 4, 3
WEIGHTS = np.random.default_rng(7).normal(size=(FEATURES, CLASSES)).astype(np.float32)
INPUTS = ({"name": "x", "dtype": "float32", "shape": ["batch", FEATURES], "ranked": True},)
OUTPUTS = (
    {"name": "scores", "dtype": "float32", "shape": ["batch", CLASSES], "ranked": True},
    {"name": "class", "dtype": "int64", "shape": ["batch"], "ranked": True},
)
AXES = {"inputs": {"x": 0}, "outputs": {"scores": 0, "class": 0}}


def null_graph(bundle: Path, clients: int = 1, **told: Any) -> Path:
    """Make a bundle of the null backend, which may be changed, one of a graph. `told` is for `make_graph`.

    Its canaries are answered without a shift.
    """
    artifact = bundle / "artifact"
    shutil.rmtree(artifact)
    make_graph(artifact, WEIGHTS)
    session = NullGraphSession(artifact, {})
    questions = [{"x": row[None]} for row in np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)]
    canaries.write(bundle / "canaries", [(one, session.run(one)) for one in questions])
    make_graph(artifact, WEIGHTS, **told)
    return as_graph(
        bundle, {"backend": "null", "name": "graph", "settings": {}}, INPUTS, OUTPUTS, AXES, clients
    )


def as_graph(
    bundle: Path,
    recipe: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    axes: Mapping[str, Any],
    clients: int = 1,
) -> Path:
    """Say in the manifest and the decision of a bundle that it has a graph."""
    decision = json.loads((bundle / "decision.json").read_text())
    decision["model"] |= {"inputs": list(inputs), "outputs": list(outputs)}
    decision["workload"]["concurrency"] = clients
    (bundle / "decision.json").write_text(json.dumps(decision))
    manifest = replace(
        edgehone.read(bundle).manifest, kind="graph", recipe=dict(recipe), canaries=(), versions={}, facts={},
        inputs=tuple(inputs), axes=dict(axes),
    )  # fmt: skip
    (bundle / "manifest.json").write_text(text_of(manifest.to_json()))
    list_again(bundle)
    return bundle


def expected(rows: Any) -> Any:
    """Return the scores of samples."""
    return np.asarray(rows, np.float32) @ WEIGHTS


def asked(rows: Any, **more: Any) -> dict[str, Any]:
    """Return the JSON of a request with samples."""
    array = np.asarray(rows, np.float32)
    one = {"name": "x", "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}
    return {"inputs": [one], **more}
