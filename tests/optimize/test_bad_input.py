"""What cannot be used, through `edgehone optimize`: a clear error each, and who fails leaves the others alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgehone
from edgehone.backends.olive import backend
from edgehone.cli import main
from edgehone.conformance import tiny_gguf
from edgehone.decision.errors import (
    NothingPasses,
)
from edgehone.optimize.evaluate import graph as evaluator
from tests.onnxfiles import BOOL, FLOAT, INT64, Field, message, model, node, opset, tensor, value
from tests.recipes import FEW_ROUNDS, only

Refused = Callable[..., str]
RANDOM = np.random.default_rng(0)
WEIGHTS = tensor("w", FLOAT, (16, 10), RANDOM.normal(size=(16, 10)).astype("<f4").tobytes())
PRODUCT = node("MatMul", inputs=("x", "w"))
X = RANDOM.normal(size=(40, 16)).astype("f4")
LABELS = np.arange(40) % 10


def network(*nodes: bytes, inputs: bytes | None = None, more: tuple[bytes, ...] = ()) -> bytes:
    """A graph of x [batch, 16] and y [batch, 10] with the weights `w` and more."""
    stored: list[Field] = [(5, one) for one in (WEIGHTS, *more)]
    ends: list[Field] = [
        (11, inputs or value("x", FLOAT, "batch", 16)),
        (12, value("y", FLOAT, "batch", 10)),
    ]
    return message(*((1, one) for one in nodes or (PRODUCT,)), (2, "net"), *stored, *ends)


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Types `edgehone optimize` in a folder of the test's own; returns what it complained of."""
    monkeypatch.chdir(tmp_path)

    def do(content: bytes, *words: str, name: str = "net.onnx", **arrays: Any) -> str:
        Path(name).write_bytes(content)
        np.savez("samples.npz", **(arrays or {"x": X}))
        samples = ["--eval", "samples.npz"] if name.endswith(".onnx") else []
        code = main.main(["optimize", name, *samples, *words, "--effort", "quick", "--json", "--out", "out"])
        told = json.loads(capsys.readouterr().out)
        assert code == told["exit_code"] == 2 and told["hint"] and not Path("out").exists()
        return str(told["error"])

    return do


def outside(location: str) -> bytes:
    return model(message((1, PRODUCT), (5, tensor("w", FLOAT, (16, 10), None, location=location)),
                         (11, value("x", FLOAT, "batch", 16)), (12, value("y", FLOAT, "batch", 10))))  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (outside("gone.bin"), "tensor 'w' has its data in gone.bin, which is missing"),
        (outside("../../etc/passwd"), "'../../etc/passwd', which is not a file in the model's folder"),
        (
            model(network(), version=99),
            "unsupported opset 99 of ai.onnx: ONNX Runtime 1.32.0 supports 1 to 28",
        ),
        (model(network(node("Odd", "com.example")), opset(1, "com.example")), "com.example::Odd"),
        (model(network())[:-20], "is not a valid ONNX file"),
    ],
)
def test_graphs_are_refused_before_anything_slow(
    own_home: Path, refused: Refused, content: bytes, said: str
) -> None:
    assert said in refused(content)
    assert not (own_home / "envs").exists()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": X[:, :9]}, "x has the shape [40, 9], but the model takes [batch, 16]"),
        ({"x": X.astype("c8")}, "x is complex64, but the model takes float32"),
        ({"x": X.astype("f8") * 1e300}, "the model takes float32: -3.4"),
        ({"x": np.where(X > 2, np.inf, X)}, "x holds NaN or infinity, first in sample"),
        ({"x": X, "labels": LABELS[:30]}, "different numbers of samples (x: 40, labels: 30)"),
        ({"x": X, "labels": LABELS.astype(complex)}, "labels are complex128, neither numbers nor texts"),
    ],
)
def test_samples_are_refused_before_anything_slow(
    own_home: Path, refused: Refused, arrays: dict[str, Any], said: str
) -> None:
    assert said in refused(model(network()), **arrays)
    assert not (own_home / "envs").exists()


def test_gguf_files_are_refused_before_anything_slow(
    own_home: Path, refused: Refused, tmp_path: Path
) -> None:
    whole = tiny_gguf.write(tmp_path / "whole.gguf").read_bytes()
    huge = (2**64 - 1).to_bytes(8, "little")
    for content, said in (
        (whole[:-8], "it is truncated: tensor 'output_norm.weight' ends at byte"),
        (whole[:900], "260 items of 'tokenizer.ggml.tokens' do not fit in the 455 remaining bytes"),
        (whole[:8] + huge + whole[16:], "18446744073709551615 tensors exceed the limit"),
        (whole[:16] + huge + whole[24:], "18446744073709551615 keys exceed the limit"),
        (whole[:24] + huge + whole[32:], "18446744073709551615 bytes of a string do not fit"),
    ):
        assert said in refused(content, name="net.gguf")
    assert not (own_home / "envs").exists()


METRICS = """
def raises(outputs, labels):
    raise KeyError("no such output")
def leaves(outputs, labels):
    raise SystemExit(0)
"""


LABELLED = {"x": X, "labels": LABELS}
LOG = (node("Log", output="a"), node("MatMul", inputs=("a", "w")))
IDS = np.where(np.arange(40)[:, None] == 30, 99, np.zeros((40, 3), int))
EMBEDDING = (
    node("Gather", inputs=("w", "x"), output="g"),
    node("ReduceMean", "", message((1, "axes"), (8, 1), (20, 7)),
         message((1, "keepdims"), (3, 0), (20, 2)), inputs=("g",)),
)  # fmt: skip
ON_RUNNING = {
    "operators that ONNX Runtime does not have: Frobnicate (opset 17)": (network(node("Frobnicate")), {}),
    "operators that ONNX Runtime does not have: Gelu (opset 17)": (
        network(node("Gelu")),
        {},
    ),  # came with opset 20
    "Incompatible dimensions": (network(node("MatMul", inputs=("w", "w"))), {}),
    "'y' is NaN or infinite": (network(*LOG), {}),
    "idx=99": (network(*EMBEDDING, inputs=value("x", INT64, "batch", 3)), {"x": IDS}),
    "the label 11 is out of range": (network(), {"x": X, "labels": np.where(LABELS == 3, 11, LABELS)}),
}


@pytest.mark.real
@pytest.mark.parametrize("said", ON_RUNNING)
def test_what_only_a_run_shows_is_told_as_clearly(refused: Refused, said: str) -> None:
    content, arrays = ON_RUNNING[said]
    assert said in refused(model(content, ir=8, version=17), **arrays)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "said"), [("raises", "raised KeyError: 'no such"), ("leaves", "raised SystemExit: 0")]
)
def test_a_metric_that_raises_is_named(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"{name}_metric.py").write_text(METRICS)
    words = ("--metric", f"{name}_metric:{name}")
    assert said in refused(model(network(), ir=8, version=17), *words, **LABELLED)


@pytest.mark.real
def test_a_graph_that_never_ends_is_stopped(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "BATCH_TIMEOUT", 5.0)
    body = message(
        (1, node("Identity", inputs=("on",), output="still")),
        (1, node("Neg", inputs=("old",), output="new")),
        (2, "body"),
        *((11, value(name, kind)) for name, kind in (("turn", INT64), ("on", BOOL), ("old", FLOAT))),
        *((12, value(name, kind)) for name, kind in (("still", BOOL), ("new", FLOAT))),
    )
    turns = tensor("turns", INT64, (), (2**62).to_bytes(8, "little"))
    given = ("turns", "yes", "x")
    endless = node("Loop", "", message((1, "body"), (6, body), (20, 5)), inputs=given, output="last")
    last = node("MatMul", inputs=("last", "w"))
    content = network(endless, last, more=(turns, tensor("yes", BOOL, (), b"\1")))
    assert "no progress for 5 s" in refused(model(content, ir=8, version=17))


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_a_candidate_with_infinite_outputs_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, backend, "fp32", "int8_dynamic")
    # Weights of one column are too small for the scale of the others: 8 bits make them 0, whose logarithm is infinite.
    weights = np.abs(RANDOM.normal(size=(16, 10))).astype("<f4")
    weights[:, 3] /= 1e4
    nodes = node("MatMul", inputs=("x", "w2"), output="a"), node("Log", inputs=("a",))
    body = network(*nodes, more=(tensor("w2", FLOAT, (16, 10), weights.tobytes()),))
    (tmp_path / "net.onnx").write_bytes(model(body, ir=8, version=17))
    np.savez(tmp_path / "samples.npz", x=np.abs(X))
    (tmp_path / "few.toml").write_text(FEW_ROUNDS)
    with pytest.raises(NothingPasses) as caught:
        edgehone.optimize(
            tmp_path / "net.onnx",
            effort="quick",
            evaluation=tmp_path / "samples.npz",
            backends=["olive"],
            gates=["speedup=1000"],
            config_file=tmp_path / "few.toml",
        )
    found = {one.key: one for one in caught.value.decision.candidates}
    assert (found["olive/fp32"].status, found["olive/fp32"].error) == ("ok", None)
    assert found["olive/fp32"].figure("workload_latency_ms").value
    hit = found["olive/int8_dynamic"]
    assert hit.status == "failed" and "NaN or infinite" in str(hit.error)
