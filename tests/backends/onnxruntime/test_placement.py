"""ONNX Runtime on other devices: recipe variants for visible devices, and which provider runs which operators."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgehone.backends.olive import backend
from edgehone.backends.onnxruntime import placement
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared.visible_devices import RuntimeDevice, VisibleDevices
from edgehone.model.demo import demo_graph
from edgehone.model.inspect import inspect
from tests.models import LLAMA

RunWorker = Callable[..., dict[str, Any]]
VISIBLE = VisibleDevices((RuntimeDevice("CPU", "cpu"), RuntimeDevice("CUDA", "gpu", "CUDAExecutionProvider")))


def test_variants_are_offered_for_graphs_but_not_for_language_models() -> None:
    graph = inspect(demo_graph())
    recipes = backend.recipes(graph)
    variants, reasons = backend.device_recipes(graph, recipes, VISIBLE)
    assert [one.name for one in variants] == [f"{one.name}@CUDA" for one in recipes] and reasons == {}
    last = backend.steps(variants[0])
    assert last.call == "edgehone.backends.onnxruntime.placement:place" and last.params == {"device": "CUDA"}
    assert last.inputs == {"graph": backend.steps(recipes[0])}
    none, reasons = backend.device_recipes(LLAMA, backend.recipes(LLAMA), VISIBLE)
    assert none == [] and "another build" in reasons["CUDA"]


def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, providers: Sequence[str]) -> dict[str, Any]:
    """Place on CUDA with a fake runtime that assigns a node to each of `providers`."""
    assigned = [SimpleNamespace(ep_name=name, get_nodes=lambda: [1]) for name in providers]
    session = SimpleNamespace(get_provider_graph_assignment_info=lambda: assigned)
    options = SimpleNamespace(add_session_config_entry=lambda name, value: None)
    runtime = SimpleNamespace(
        SessionOptions=lambda: options, InferenceSession=lambda path, options, providers: session
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "model.onnx").write_bytes(b"a graph")
    job = WorkerJob(
        {"device": "CUDA"},
        {"graph": tmp_path / "in"},
        tmp_path / "out",
        None,
        1,
        lambda fraction, what: None,
    )
    return placement.place(job)


def test_a_device_that_supports_no_operator_gains_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    facts = place(monkeypatch, tmp_path, ["CPUExecutionProvider"] * 3)
    assert facts == {"nothing_to_gain": "CUDAExecutionProvider supports none of the graph's operators"}


@pytest.mark.real
def test_the_real_runtime_reports_operators_by_provider(run_worker: RunWorker, tmp_path: Path) -> None:
    graph = demo_graph()
    recipe = replace(backend.recipes(inspect(graph))[0], settings={"device": "CPU"})
    last = backend.steps(recipe)
    build = last.inputs["graph"]
    run_worker("olive", build.call, dict(build.params), {"model": graph}, tmp_path / "built")
    facts = run_worker(
        "olive", last.call, dict(last.params), {"graph": tmp_path / "built"}, tmp_path / "placed"
    )
    assert facts["operators"].keys() == {"CPUExecutionProvider"}
    assert facts["operators"]["CPUExecutionProvider"] > 5
