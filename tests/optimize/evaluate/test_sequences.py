"""A recurrent graph is proven, measured, run and served on whole sequences with its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgehone
from edgehone.backends.olive import backend as olive
from edgehone.backends.openvino import backend as openvino
from edgehone.core.errors import InputError
from edgehone.inference.run_bundle import infer
from edgehone.worker import canaries
from tests.recipes import FEW_ROUNDS, only
from tests.serve.server import Server, running

HIDDEN, FEATURES, STEPS, COUNT = 24, 8, 12, 64
GATES = ("gain=off", "loss=off", "latency_cv=off")


def value(name: str, *shape: str | int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


@pytest.fixture
def recurrent(tmp_path: Path) -> Path:
    """hn = tanh(x·w + h·u), y = sigmoid(hn·v): one step of an Elman network whose state decays slowly."""
    rng = np.random.default_rng(3)
    weights = {
        "w": rng.normal(size=(FEATURES, HIDDEN)) / 3,
        "u": np.linalg.qr(rng.normal(size=(HIDDEN, HIDDEN)))[0] * 0.95,
        "v": rng.normal(size=(HIDDEN, 1)) * 3,
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("MatMul", ["h", "u"], ["hu"]),
        helper.make_node("Add", ["xw", "hu"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["hn"]),
        helper.make_node("MatMul", ["hn", "v"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["speech"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", "batch", FEATURES), value("h", "batch", HIDDEN)],
        [value("speech", "batch", 1), value("hn", "batch", HIDDEN)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    np.savez(tmp_path / "s.npz", x=rng.normal(size=(COUNT, STEPS, FEATURES)).astype(np.float32))
    (tmp_path / "edgehone.toml").write_text(FEW_ROUNDS)
    return path


def expected(model: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The outputs in float64, independent of any runtime."""
    w, u, v = (numpy_helper.to_array(one).astype(np.float64) for one in onnx.load(model).graph.initializer)
    state, found = np.zeros((len(x), HIDDEN)), []
    for step in range(x.shape[1]):
        state = np.tanh(x[:, step] @ w + state @ u)
        found.append(1 / (1 + np.exp(-(state @ v))))
    return np.stack(found, 1)


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_sequences_from_the_samples_to_the_server(
    recurrent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, openvino, "fp32", "int8_weights")
    only(monkeypatch, olive, "fp32", "int8_dynamic")
    out = tmp_path / "bundle"
    decision = edgehone.optimize(
        recurrent,
        effort="quick",
        gates=GATES,
        evaluation=tmp_path / "s.npz",
        backends=["openvino", "olive"],
        config_file=tmp_path / "edgehone.toml",
        out=out,
    )
    alive = [one for one in decision.candidates if one.status == "ok"]
    assert {"openvino", "olive"} <= {one.backend for one in alive}
    assert any("every step takes the last one's 'hn' as 'h'" in note for note in decision.notes)
    bundle = edgehone.read(out)
    assert bundle.manifest.axes["told_states"] == ["hn=h"]

    with np.load(tmp_path / "s.npz") as file:
        x = file["x"]
    facts = infer(bundle, tmp_path / "s.npz", tmp_path / "y.npz")
    assert facts["outputs"] == {"speech": [COUNT, STEPS, 1]}
    with np.load(tmp_path / "y.npz") as file:
        ran = file["speech"]
    assert np.abs(ran - expected(recurrent, x)).mean() < 0.02  # an int8 candidate may be chosen
    question, answer = canaries.read(out / "canaries")[0]
    assert question["x"].shape == (1, STEPS, FEATURES) and answer["speech"].shape == (1, STEPS, 1)

    with running(out) as server:
        whole = _speech(server, x[:1])
        np.testing.assert_allclose(whole["speech"], ran[:1], rtol=1e-3, atol=1e-4)
        first = _speech(server, x[:1, :5], h=np.zeros((1, HIDDEN), np.float32))
        second = _speech(server, x[:1, 5:], h=first["hn"])
        parts = np.concatenate([first["speech"], second["speech"]], 1)
        np.testing.assert_allclose(parts, whole["speech"], rtol=1e-3, atol=1e-4)
        refused = server.infer(_body(x=x[:1, 0]))
        assert refused.status_code == 400 and "has the shape [-1, -1, 8]" in refused.text


@pytest.mark.real
@pytest.mark.long
@pytest.mark.xdist_group("measures")
def test_sequences_of_unequal_length_are_judged_and_run_to_their_own_ends(
    recurrent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, openvino, "fp32", "int8_weights")
    only(monkeypatch, olive, "fp32", "int8_dynamic")
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, STEPS + 1, COUNT)
    x = rng.normal(size=(COUNT, STEPS, FEATURES)).astype(np.float32)
    figures = []
    for name, padding in (("zeros", 0.0), ("huge", 3e4)):
        for row, length in enumerate(lengths):
            x[row, length:] = padding
        np.savez(tmp_path / f"{name}.npz", x=x, lengths=lengths)
        decision = edgehone.optimize(
            recurrent,
            effort="quick",
            gates=GATES,
            evaluation=tmp_path / f"{name}.npz",
            backends=["openvino", "olive"],
            config_file=tmp_path / "edgehone.toml",
            out=tmp_path / name,
        )
        figures.append(
            {
                one.key: [
                    one.figure(figure).value for figure in ("max_error", "relative_error", "accuracy_kept")
                ]
                for one in decision.candidates
                if one.status == "ok"
            }
        )
    # What stands after the ends changes nothing.
    assert {"openvino/fp32", "olive/fp32", "olive/int8_dynamic"} <= figures[0].keys()
    assert figures[0].keys() == figures[1].keys()
    for key, values in figures[0].items():
        assert figures[1][key] == pytest.approx(values, rel=1e-6), key
    assert (figures[0]["openvino/fp32"][1] or 0) < 1e-3 < (figures[0]["olive/int8_dynamic"][1] or 0)
    facts = infer(edgehone.read(tmp_path / "huge"), tmp_path / "huge.npz", tmp_path / "y.npz")
    assert facts["outputs"] == {"speech": [COUNT, int(lengths.max()), 1]}
    with np.load(tmp_path / "y.npz") as file:
        found = file["speech"]
    right = expected(recurrent, x)
    for row, length in enumerate(lengths):
        assert np.abs(found[row, :length] - right[row, :length]).mean() < 0.05
        assert not found[row, length:].any()


def _body(**arrays: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": name, "datatype": "FP32", "shape": [*array.shape], "data": array.ravel().tolist()}
            for name, array in arrays.items()
        ]
    }


def _speech(server: Server, x: np.ndarray[Any, Any], **states: np.ndarray[Any, Any]) -> dict[str, Any]:
    answer = server.infer(_body(x=x, **states))
    assert answer.status_code == 200, answer.text
    return {
        one["name"]: np.array(one["data"], np.float32).reshape(one["shape"])
        for one in answer.json()["outputs"]
    }


def test_what_does_not_fit_sequences_is_refused_before_anything_slow(
    own_home: Path, recurrent: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "flat.npz", x=np.zeros((16, FEATURES), np.float32))
    with pytest.raises(
        InputError, match=r"x has the shape \[16, 8\], but the model takes \[batch, steps, 8\]"
    ):
        edgehone.optimize(recurrent, evaluation=tmp_path / "flat.npz")
    with pytest.raises(InputError, match="the graph has no output 'hm'; known: speech, hn"):
        edgehone.optimize(recurrent, evaluation=tmp_path / "s.npz", states=["hm=h"])
    narrow = np.zeros((16, 3), np.float32)
    np.savez(tmp_path / "steps.npz", x=np.zeros((16, FEATURES), np.float32), h=narrow)
    with pytest.raises(InputError, match=r"h has the shape \[16, 3\], but the model takes \[batch, 24\]"):
        edgehone.optimize(recurrent, evaluation=tmp_path / "steps.npz")
    assert not list(own_home.glob("store/jobs/*"))
