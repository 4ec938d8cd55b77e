"""The target triton: configurations that Triton's own definition takes, and a real Triton that answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper, save
from tritonclient.grpc import model_config_pb2

import edgehone
from edgehone.core.errors import InputError, SetupError
from edgehone.package import canary_files
from edgehone.package.targets.triton import checks, server, target
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, Packed, pack
from tests.package.onnx_bundles import OnnxBundle

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) - 5


def graph(path: Path, nodes: Sequence[Any], inputs: Any, outputs: Any, **weights: Any) -> Path:
    """Write an ONNX file; `inputs` and `outputs` map names to types and shapes."""
    given, told = (
        [helper.make_tensor_value_info(name, *one) for name, one in some.items()]
        for some in (inputs, outputs)
    )
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    made = helper.make_graph(nodes, "graph", given, told, constants)
    save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def scores_bundle(onnx_bundle: OnnxBundle, tmp_path: Path) -> Path:
    """A graph with scores and a class, whose output has no dimension but that of the samples."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["class"], axis=1, keepdims=0),
    ]
    batch, real, whole = "batch", TensorProto.FLOAT, TensorProto.INT64
    outputs = {"scores": (real, [batch, 3]), "class": (whole, [batch])}
    path = graph(tmp_path / "scores.onnx", nodes, {"x": (real, [batch, 4])}, outputs, w=WEIGHTS)
    rows = np.random.default_rng(2).normal(size=(3, 1, 4)).astype(np.float32)
    asked = [({"x": x}, {"scores": x @ WEIGHTS, "class": (x @ WEIGHTS).argmax(1)}) for x in rows]
    return onnx_bundle(path, asked)


@pytest.fixture
def sums_bundle(onnx_bundle: OnnxBundle, tmp_path: Path) -> Path:
    """A graph that adds up what a sequence gives, in a state."""
    nodes = [helper.make_node("Add", ["x", "h"], ["y"]), helper.make_node("Identity", ["y"], ["hn"])]
    kind = (TensorProto.FLOAT, [1, 2])
    path = graph(tmp_path / "sums.onnx", nodes, {"x": kind, "h": kind}, {"y": kind, "hn": kind})
    x, h = np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32)
    return onnx_bundle(path, [({"x": x, "h": h}, {"y": x, "hn": x})])


def packed(bundle: Path, out: Path, **options: str) -> Packed:
    return pack(bundle, Order(target, out, options))


def config_of(package: Path) -> Any:
    (path,) = package.glob("models/*/config.pbtxt")
    return text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())


def test_tensorrt_on_several_gpus(scores_bundle: Path, tmp_path: Path) -> None:
    done = packed(
        scores_bundle, tmp_path / "package", name="a.b", max_batch_size="1", acceleration="tensorrt",
        precision="fp16", tensor_parallelism="true", instances="3",
    )  # fmt: skip
    config = config_of(done.path)
    assert (config.name, config.backend, config.max_batch_size) == ("a.b", "onnxruntime", 0)
    assert config.default_model_filename == "scores.onnx" and not config.HasField("dynamic_batching")
    (group,) = config.instance_group
    assert (group.kind, list(group.gpus), group.count) == (group.KIND_GPU, [], 3)
    (tensorrt,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert tensorrt.name == "tensorrt" and tensorrt.parameters["precision_mode"] == "FP16"
    scores, classes = config.output
    assert (scores.data_type, list(scores.dims)) == (model_config_pb2.TYPE_FP32, [-1, 3])
    assert (classes.data_type, list(classes.dims)) == (model_config_pb2.TYPE_INT64, [-1])
    notes = " ".join(done.package.notes)
    assert "tensor_parallelism is not met" in notes and "acceleration=tensorrt was not run" in notes
    assert [one.outcome for one in done.checks][::2] == ["passed", "skipped"]


def test_states_are_kept_by_triton(sums_bundle: Path, tmp_path: Path) -> None:
    config = config_of(packed(sums_bundle, tmp_path / "package", states="h=hn").path)
    (state,) = config.sequence_batching.state
    assert (state.input_name, state.output_name, list(state.dims)) == ("h", "hn", [1, 2])
    assert state.initial_state[0].zero_data and config.sequence_batching.oldest.max_candidate_sequences > 1
    assert [one.name for one in config.input] == ["x"] and [one.name for one in config.output] == ["y"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"states": "x=y"}, None),
        ({"states": "z=y"}, "the option states of triton is 'z=y'"),
        ({"states": "x=y,h=hn"}, "leaves no input"),
        ({"instances": "0"}, "the option instances of triton is '0'"),
        ({"max_batch_size": "many"}, "max_batch_size of triton is 'many'"),
        ({"acceleration": "npu"}, "the option acceleration of triton cannot be 'npu'"),
        ({"precision": "fp16"}, "precision is for acceleration=tensorrt"),
        ({"name": "a/b"}, "the option name is 'a/b'"),
        ({"backend": "vllm"}, "the option backend of triton cannot be 'vllm'"),
    ],
)
def test_wrong_options_are_named(
    sums_bundle: Path, tmp_path: Path, options: dict[str, str], problem: str | None
) -> None:
    if problem is None:
        packed(sums_bundle, tmp_path / "package", **options)
        return
    with pytest.raises(InputError, match=problem):
        packed(sums_bundle, tmp_path / "package", **{"max_batch_size": "1", **options})
    assert not (tmp_path / "package").exists()


def test_refuses_language_models_by_name(spoiled: Path) -> None:
    reason = target.refuses(edgehone.read(spoiled)) or ""
    assert "a language model needs a run for each token" in reason and "vLLM" in reason


def test_an_unknown_field_fails_the_check(sums_bundle: Path, tmp_path: Path) -> None:
    package = packed(sums_bundle, tmp_path / "package", max_batch_size="1").path
    (path,) = package.glob("models/*/config.pbtxt")
    path.write_text(path.read_text().replace("max_batch_size", "most_samples"))
    first = checks.run(package, tmp_path)[0]
    assert first.outcome == "failed" and "most_samples" in first.reason


@pytest.mark.real
@pytest.mark.whole
def test_a_real_triton_gives_the_proven_outputs(
    digits_bundle: Path, digits_answers: list[Any], tritonserver: Path, tmp_path: Path
) -> None:
    done = packed(digits_bundle, tmp_path / "package", backend="python", name="digits")
    assert [one.outcome for one in done.checks] == ["passed"] * 3, done.checks
    verify_package(done.path)
    config = config_of(done.path)
    assert config.max_batch_size == 16 and any("run as one batch" in note for note in done.package.notes)
    # Triton writes bytecode beside model.py, so it gets a copy.
    with server.running(
        Path(shutil.copytree(done.path / "models", tmp_path / "models")), tmp_path / "log"
    ) as running:
        for module, url in ((tritonclient.http, running.http), (tritonclient.grpc, running.grpc)):
            client = module.InferenceServerClient(url)
            for question, answer in digits_answers:
                one = module.InferInput("image", list(question["image"].shape), "FP32")
                one.set_data_from_numpy(question["image"])
                found = client.infer("digits", [one]).as_numpy("logits")
                np.testing.assert_allclose(found, answer["logits"], rtol=1e-4, atol=1e-5)
            client.close()
        _ask_at_once(running.grpc, digits_answers, answered=2 * len(digits_answers))
        words = [sys.executable, "client.py", running.http]
        said = subprocess.run(words, cwd=done.path, capture_output=True, text=True, check=True).stdout
        assert "logits: differs by" in said
        # An input that the graph does not take is refused, and the server goes on.
        with pytest.raises(tritonclient.utils.InferenceServerException, match="shape"):
            _ask(running.http, "digits", {"image": np.zeros((1, 1, 9, 8), np.float32)})
    question, answer = digits_answers[0]
    canary_files.write(done.path / "canary", question, {"logits": answer["logits"] * 2}, quantized=False)
    for failed in checks.run(done.path, tmp_path)[1:]:
        assert failed.outcome == "failed" and "logits differs by 0.5" in failed.reason


def _ask_at_once(address: str, asked: list[Any], answered: int) -> None:
    """Requests that come together run in fewer batches, and each gets its own answer.

    `answered` is the number of requests that the server answered before.
    """
    with tritonclient.grpc.InferenceServerClient(address) as client, ThreadPoolExecutor(8) as pool:

        def ask(at: int) -> None:
            question, answer = asked[at % len(asked)]
            one = tritonclient.grpc.InferInput("image", [1, 1, 8, 8], "FP32")
            one.set_data_from_numpy(question["image"])
            found = client.infer("digits", [one]).as_numpy("logits")
            np.testing.assert_allclose(found, answer["logits"], rtol=1e-4, atol=1e-5)

        before = _batches(client, answered)
        list(pool.map(ask, range(64)))
        assert _batches(client, answered + 64) - before < 64


def _batches(client: Any, answered: int) -> int:
    """The batches that were run for `answered` requests.

    Triton's Python backend sends the answers of a batch first and counts the batch afterwards.
    """
    until = time.monotonic() + 10
    while True:
        told = client.get_inference_statistics("digits", as_json=True)["model_stats"][0]
        if int(told.get("inference_count", 0)) >= answered or time.monotonic() > until:
            assert int(told.get("inference_count", 0)) == answered
            return int(told["execution_count"])
        time.sleep(0.01)


def _ask(address: str, model: str, feeds: dict[str, Any], **sequence: Any) -> Any:
    with tritonclient.http.InferenceServerClient(address) as client:
        inputs = []
        for name, array in feeds.items():
            inputs.append(tritonclient.http.InferInput(name, list(array.shape), "FP32"))
            inputs[-1].set_data_from_numpy(array)
        return client.infer(model, inputs, **sequence)


@pytest.mark.real
@pytest.mark.whole
def test_sequences_and_classes_in_a_real_triton(
    scores_bundle: Path, sums_bundle: Path, tritonserver: Path, tmp_path: Path
) -> None:
    scores = packed(scores_bundle, tmp_path / "scores", backend="python", name="scores")
    assert [one.outcome for one in scores.checks] == ["passed"] * 3, scores.checks
    sums = packed(sums_bundle, tmp_path / "sums", backend="python", name="sums", states="h=hn")
    with server.running(sums.path / "models", tmp_path / "log") as running:
        one = np.ones((1, 2), np.float32)

        def ask(sequence: int, value: float, **flags: bool) -> float:
            found = _ask(running.http, "sums", {"x": one * np.float32(value)}, sequence_id=sequence, **flags)
            return float(found.as_numpy("y")[0, 0])

        assert ask(7, 1, sequence_start=True) == 1
        assert ask(8, 10, sequence_start=True) == 10
        assert ask(7, 2) == 3 and ask(8, 5) == 15
        assert ask(7, 4, sequence_end=True) == 7
        with pytest.raises(tritonclient.utils.InferenceServerException):
            ask(7, 1)
        assert ask(7, 3, sequence_start=True) == 3


@pytest.mark.real
@pytest.mark.whole
def test_a_model_that_triton_cannot_load_is_told(
    sums_bundle: Path, tritonserver: Path, tmp_path: Path
) -> None:
    package = packed(sums_bundle, tmp_path / "package", backend="python", max_batch_size="1").path
    (model,) = package.glob("models/*/1/*.onnx")
    model.write_bytes(b"no model")
    with (
        pytest.raises(SetupError, match=r"Triton cannot serve the repository: .*onnx"),
        server.running(package / "models", tmp_path / "log"),
    ):
        pass
