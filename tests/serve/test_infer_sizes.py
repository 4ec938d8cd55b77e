"""Requests that are much larger than what a graph was evaluated with are refused before anything is computed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgehone
from edgehone.backends.null.graph import NullGraphSession, make_graph
from edgehone.bundle.schema import text_of
from edgehone.worker import canaries
from tests.finished import Finished, list_again
from tests.serve.graphs import OUTPUTS, WEIGHTS, as_graph
from tests.serve.server import Server, running
from tests.serve.test_infer import binary

pytestmark = pytest.mark.whole
INPUTS = (
    {"name": "x", "dtype": "float32", "shape": ["batch", "features"], "ranked": True},
    {"name": "speed", "dtype": "float32", "shape": [2], "ranked": True},
)
AXES = {"inputs": {"x": 0, "speed": None}, "outputs": {"scores": 0, "class": 0}}
# Four features are what the graph can multiply; so nine, were they not refused, would fail otherwise.
PROVEN = {
    "sizes": {"x": [None, 2], "speed": [2]},
    "values": {"speed": {"least": [1.0, 0.0], "most": [1.5, 0.0]}},
}


def graph(bundle: Path, proven: dict[str, Any]) -> Path:
    artifact = bundle / "artifact"
    shutil.rmtree(artifact)
    make_graph(artifact, WEIGHTS)
    session = NullGraphSession(artifact, {})
    question = {"x": np.ones((1, 4), np.float32), "speed": np.array([1, 0], np.float32)}
    canaries.write(bundle / "canaries", [(question, session.run(question))])
    as_graph(bundle, {"backend": "null", "name": "graph", "settings": {}}, INPUTS, OUTPUTS, AXES)
    manifest = replace(edgehone.read(bundle).manifest, proven=proven)
    (bundle / "manifest.json").write_text(text_of(manifest.to_json()))
    list_again(bundle)
    return bundle


@pytest.fixture(scope="module")
def server(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    copy = Path(shutil.copytree(_finished.bundle, tmp_path_factory.mktemp("sizes") / "bundle"))
    with running(graph(copy, PROVEN), env={"EDGEHONE_HOME": str(_finished.home)}) as found:
        yield found


def body(shape: tuple[int, ...] = (1, 4), speed: tuple[float, float] = (1.0, 0.0)) -> dict[str, Any]:
    x = {"name": "x", "datatype": "FP32", "shape": list(shape), "data": [1.0] * int(np.prod(shape))}
    return {"inputs": [x, {"name": "speed", "datatype": "FP32", "shape": [2], "data": list(speed)}]}


@pytest.mark.parametrize(
    ("shape", "speed"), [((1, 4), (1, 0)), ((300, 4), (1, 0)), ((1, 4), (6, 99)), ((1, 4), (-0.25, 0))]
)
def test_what_is_near_the_evaluated_is_answered(
    server: Server, shape: tuple[int, ...], speed: tuple[float, float]
) -> None:
    """Any number of samples, and any value of a number that was always 0."""
    assert server.infer(body(shape, speed)).status_code == 200


@pytest.mark.parametrize(
    ("shape", "speed", "said"),
    [
        ((1, 9), (1, 0), r"the input 'x' has 9 entries along axis 1: at most 8 are taken, 4 times what"),
        ((1, 1_000_000), (1, 0), r"the input 'x' has 1000000 entries along axis 1"),
        ((1, 4), (1e9, 0), r"the input 'speed' has 1e+09 at index 0: 0.25 to 6 are taken"),
        ((1, 4), (1e-9, 0), r"the input 'speed' has 1e-09 at index 0: 0.25 to 6 are taken"),
        ((1, 4), (0.0, 0), r"the input 'speed' has 0 at index 0"),
    ],
)
def test_what_is_far_beyond_is_refused(
    server: Server, shape: tuple[int, ...], speed: tuple[float, float], said: str
) -> None:
    answer = server.infer(body(shape, speed))
    assert answer.status_code == 400 and said in answer.json()["error"]
    assert server.infer(body()).status_code == 200


def test_values_are_looked_at_in_requests_of_a_known_form(server: Server) -> None:
    """JSON that was checked before is not read again; the bytes behind it are others."""
    for speed, status in (
        ((1.0, 0.0), 200),
        ((1.5, 0.0), 200),
        ((1e6, 0.0), 400),
        ((float("nan"), 0.0), 400),
    ):
        x = {"name": "x", "datatype": "FP32", "shape": [1, 4]}, np.ones((1, 4), np.float32).tobytes()
        parts = [
            x,
            ({"name": "speed", "datatype": "FP32", "shape": [2]}, np.array(speed, np.float32).tobytes()),
        ]
        text, headers = binary(parts)
        answer = server.infer(text, **headers)
        assert answer.status_code == status, answer.text


def test_the_limit_is_an_option_and_bundles_without_the_sizes_have_none(
    _finished: Finished, tmp_path: Path
) -> None:
    env = {"EDGEHONE_HOME": str(_finished.home)}
    copy = Path(shutil.copytree(_finished.bundle, tmp_path / "bundle"))
    with running(graph(copy, PROVEN), "--largest-input", "2", env=env) as found:
        assert found.infer(body(speed=(3, 0))).status_code == 200
        assert "0.5 to 3 are taken" in found.infer(body(speed=(3.5, 0))).json()["error"]
    (copy / "manifest.json").write_text(text_of(replace(edgehone.read(copy).manifest, proven={}).to_json()))
    list_again(copy)
    with running(copy, env=env) as found:
        assert found.infer(body(speed=(1e9, 0))).status_code == 200
    assert json.loads((copy / "manifest.json").read_text())["proven"] == {}
