"""The suite for a backend that runs graphs: a fake one, conforming or violating one requirement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgehone.conformance import suite
from edgehone.model.info import ModelInfo, Tensor
from edgehone.worker.conformance.run_checks import checks

from .conftest import Install

HONEST = '''
"""half: a linear layer, out = rows @ weights."""
from edgehone.backends.base import Needs, Recipe, Step, Support

NAME, REFERENCE, NEEDS = "half", False, Needs()

def supports(model):
    fine = model.format == "linear"
    return Support(fine, () if fine else (f"linear layers only, not '{model.format}'",))

def recipes(model):
    return [Recipe(NAME, "f32", {}, exact=True)]

def steps(recipe):
    return Step("edgehone_half:convert", reads=("model",))

def convert(job):
    import shutil
    shutil.copyfile(job.inputs["model"] / "weights.npy", job.out / "weights.npy")
    return {}

def open_session(artifact, settings, job):
    raise NotImplementedError("graphs only")

def open_graph(artifact, settings, job):
    import numpy as np
    return Linear(np.load(artifact / "weights.npy"))

def open_graph_many(artifact, settings, job, clients):
    return open_graph(artifact, settings, job)

class Linear:
    def __init__(self, weights):
        self.weights = weights

    def run(self, feeds):
        (rows,) = feeds.values()
        if set(feeds) != {"rows"} or rows.ndim != 2:
            raise ValueError(f"rows [n, 4] are wanted, not {list(feeds)}")
        return {"out": rows @ self.weights}

    def close(self):
        self.weights = None
'''
RUN = "\nclass Broken(Linear):\n{}\n\nHonest, Linear = Linear, Broken\n"
BROKEN = {
    "run_returns_all_outputs": RUN.format(
        "    def run(self, feeds): return {'other': super().run(feeds)['out']}"
    ),
    "run_is_deterministic": RUN.format(
        "    calls = 0\n    def run(self, feeds):\n        self.calls += 1\n"
        "        return {'out': super().run(feeds)['out'] + self.calls}"
    ),
    "run_is_independent_of_earlier_calls": RUN.format(
        "    first = None\n    def run(self, feeds):\n        out = super().run(feeds)['out']\n"
        "        self.first = out if self.first is None else self.first\n        return {'out': self.first}"
    ),
    "batch_rows_are_independent": RUN.format(
        "    def run(self, feeds):\n        out = super().run(feeds)['out']\n        return {'out': out - out.mean(0)}"
    ),
    "concurrent_runs_are_independent": RUN.format(
        "    def run(self, feeds):\n        import time\n        (self.rows,) = feeds.values()\n"
        "        time.sleep(0.01)\n        return {'out': self.rows @ self.weights}"
    ),
    "builds_have_equal_outputs": """
def convert(job):
    import os
    import numpy as np
    np.save(job.out / "weights.npy", np.frombuffer(os.urandom(12), np.uint8).astype("f4").reshape(4, 3))
    return {}
""",
    "a_closed_graph_can_be_reopened": """
opened = []
honest_open = open_graph
def open_graph(artifact, settings, job):
    opened.append(artifact)
    if len(opened) > 1: raise RuntimeError("opened before")
    return honest_open(artifact, settings, job)
""",
    "invalid_feeds_raise_errors": RUN.format(
        "    def run(self, feeds): return {'out': feeds.get('rows', 0) * 1}"
    ),
}


@pytest.fixture(autouse=True)
def _tiny_graph(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "linear"
    folder.mkdir()
    np.save(folder / "weights.npy", np.arange(12, dtype=np.float32).reshape(4, 3))
    graph = ModelInfo(
        folder, "linear", "linear", "linear", "graph", 12, 48, {"F32": 12}, ("weights.npy",),
        inputs=(Tensor("rows", "float32", ("batch", 4)),), outputs=(Tensor("out", "float32", ("batch", 3)),),
    )  # fmt: skip

    def graphs(place: Path) -> Iterator[ModelInfo]:
        yield graph

    monkeypatch.setattr(suite, "tiny_graphs", graphs)


def test_a_backend_of_graphs_conforms(install: Install) -> None:
    outcomes = {one.check: one for one in suite.conform(install("edgehone_linear", HONEST))}
    of_graphs = [check.__name__ for check in checks("graph")]
    # Checks of capabilities that it lacks are skipped.
    others = {name: outcomes[name].seen for name in of_graphs if outcomes[name].state != "pass"}
    assert others == {
        "operator_times_are_plausible": "it has no operator_times()",
        "quantized_recipes_quantize": "it has no recipe with quantized weights that needs no calibration",
        "visible_devices_are_reported": "it has no devices()",
    }
    # It supports no language model, which is not a failure.
    assert outcomes["score_is_deterministic"].state == "skip"
    assert "supports none of the available language models" in outcomes["score_is_deterministic"].seen
    assert "fail" not in {one.state for one in outcomes.values()}


@pytest.mark.parametrize("check", BROKEN)
def test_a_backend_that_violates_a_requirement_fails_its_check(install: Install, check: str) -> None:
    name = install(f"edgehone_graph_{check}", HONEST + BROKEN[check])
    (found,) = suite.conform(name, only=[check])
    assert (found.check, found.state) == (check, "fail"), found.seen


def test_every_check_of_graphs_has_a_backend_that_violates_it() -> None:
    # These are the same checks as for language models, or have their names.
    shared = {
        "the_network_is_not_used",
        "operator_times_are_plausible",
        "quantized_recipes_quantize",
        "visible_devices_are_reported",
    }
    assert {check.__name__ for check in checks("graph")} == {*BROKEN, *shared}


def test_without_a_graph_the_checks_are_skipped_with_a_reason(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "tiny_graphs", lambda place: iter(()))
    (found,) = suite.conform(install("edgehone_nograph", HONEST), only=["run_is_deterministic"])
    assert (found.state, found.seen) == ("skip", "there is no tiny graph model")
