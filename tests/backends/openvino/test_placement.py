"""Placement in OpenVINO: unsupported operators are listed, shapes are fixed, and the real runtime places with
HETERO.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgehone.backends.openvino import backend, placement
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import JobError
from edgehone.model.demo import demo_graph
from edgehone.model.inspect import inspect

RunWorker = Callable[..., dict[str, Any]]


def node(kind: str, name: str) -> Any:
    return SimpleNamespace(get_type_name=lambda: kind, get_friendly_name=lambda: name)


NODES = [
    node("Parameter", "x"),
    node("MatMul", "a"),
    node("MatMul", "b"),
    node("TopK", "c"),
    node("Result", "y"),
]


def place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, where: Mapping[str, str]
) -> dict[str, Any]:
    """Place a made-up graph with a fake runtime whose plugin supports the operators in `where`."""
    model = SimpleNamespace(get_ops=lambda: NODES)
    core = SimpleNamespace(read_model=lambda path: model, query_model=lambda model, device: dict(where))
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=lambda: core))
    args = {"device": device, "static": False}
    job = WorkerJob(args, {"ir": tmp_path}, tmp_path / "out", None, 1, lambda fraction, what: None)
    return placement.place(job)


def test_unsupported_operators_are_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"NPU does not support 3 of 3 operators: MatMul \(2\), TopK \(1\)"):
        place(monkeypatch, tmp_path, "NPU", {})
    with pytest.raises(JobError, match=r"NPU does not support 1 of 3 operators: TopK \(1\)"):
        place(monkeypatch, tmp_path, "NPU", {"a": "NPU", "b": "NPU"})


@pytest.mark.parametrize("alone", ["NPU", "CPU"])
def test_a_fallback_gains_nothing_if_one_device_runs_all_operators(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, alone: str
) -> None:
    facts = place(monkeypatch, tmp_path, "HETERO:NPU,CPU", dict.fromkeys("abc", alone))
    assert facts == {"nothing_to_gain": f"of HETERO:NPU,CPU, {alone} alone takes every operator"}


def test_free_dimensions_are_filled_in() -> None:
    free = SimpleNamespace(is_static=False)
    three = SimpleNamespace(is_static=True, get_length=lambda: 3)
    assert placement.fixed([free, three, free]) == [1, 3, 128]
    assert placement.fixed([three]) == [3] and placement.fixed([]) == []


@pytest.mark.real
def test_a_graph_with_fixed_shapes_runs_on_the_real_runtime(
    run_worker: RunWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    graph = demo_graph()
    step = backend.steps(backend.recipes(inspect(graph))[0])
    ir, out = tmp_path / "ir", tmp_path / "out"
    run_worker("openvino", step.call, dict(step.params), {"model": graph}, ir)
    args = {"device": "HETERO:CPU", "static": True}
    facts = run_worker("openvino", f"{placement.__name__}:place", args, {"ir": ir}, out)
    assert facts["operators"].keys() == {"CPU"} and facts["operators"]["CPU"] > 5
    given = {"artifact": out, "samples": graph.parent / "evaluation.npz"}
    facts = run_worker(
        "openvino", "openvinofunctions:feed_by_shapes", {"device": "HETERO:CPU"}, given, tmp_path / "fed"
    )
    # Batches of 3, 1 and 3: compiled twice, with the same results as with free shapes.
    assert facts["compiled"] == 2
    assert facts["difference"] < 1e-5
