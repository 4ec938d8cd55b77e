"""Graphs through the main job, for real: the digits that ship, an encoder, an exported program; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgehone
from edgehone.backends.llamacpp import backend as llamacpp
from edgehone.backends.olive import backend as olive
from edgehone.backends.openvino import backend as openvino
from edgehone.backends.pytorch import backend
from edgehone.core.errors import InputError, ModelError
from edgehone.decision.errors import (
    NothingPasses,
)
from edgehone.execution.environments import environment
from edgehone.inference.run_bundle import infer
from edgehone.model.demo import demo_graph
from edgehone.worker import canaries
from tests.png import png
from tests.recipes import FEW_ROUNDS, only

DIGITS = demo_graph()
EVALUATION, CALIBRATION = (DIGITS.parent / f"{name}.npz" for name in ("evaluation", "calibration"))
# What so small a graph gains lies below what calling a runtime costs: only its quality is held to gates here.
GATES = ("gain=off", "loss=off", "latency_cv=off")


def optimize(model: Path, **more: Any) -> edgehone.Decision:
    return edgehone.optimize(model, effort="quick", gates=GATES, **more)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Few rounds suffice: the machinery is tested, not the speed."""
    path = tmp_path / "edgehone.toml"
    path.write_text(FEW_ROUNDS + "[workloads.pairs]\ntask = 'graph'\nbatch = 2\n")
    return path


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_digits_by_every_framework_that_takes_graphs(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All recipes are built and judged in tests/backends; here each framework has one that is calibrated.
    only(monkeypatch, openvino, "fp32", "int8_performance")
    only(monkeypatch, olive, "fp32", "int8_static")
    out = tmp_path / "bundle"
    decision = optimize(
        DIGITS, evaluation=EVALUATION, calibration=CALIBRATION, workload="pairs", config_file=config, out=out
    )
    assert decision.chosen is not None
    alive = [candidate for candidate in decision.candidates if candidate.status == "ok"]
    assert {"olive", "openvino"} <= {candidate.backend for candidate in alive}
    for candidate in [*alive, decision.baseline]:
        accuracy = candidate.figure("accuracy")
        assert accuracy.value is not None and accuracy.value > 0.95 and accuracy.n == 512
        if candidate.key in (decision.chosen, decision.baseline.key):
            assert candidate.figure("throughput_per_s").value
        assert candidate.figure("decode_tokens_per_s").reason == "the model generates no tokens"
    assert {one.backend for one in decision.conversions if one.passed} == {"olive", "openvino"}
    quantized = [c for c in alive if "int8" in c.key]
    assert quantized and all((c.bytes or 0) < (decision.baseline.bytes or 0) / 2 for c in quantized)

    np.savez(tmp_path / "bad.npz", image=np.zeros((3, 1, 9, 8), np.float32))
    with pytest.raises(InputError, match=r"bad.npz: image has the shape \[3, 1, 9, 8\], but the model takes"):
        infer(edgehone.read(out), tmp_path / "bad.npz", tmp_path / "out.npz")
    facts = infer(edgehone.read(out), EVALUATION, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found, np.load(EVALUATION) as given:
        assert facts["outputs"] == {"logits": [600, 10]}
        assert (found["logits"].argmax(1) == given["labels"]).mean() > 0.95
    asked, answered = canaries.read(out / "canaries")[0]
    assert asked["image"].shape == (1, 1, 8, 8) and answered["logits"].shape == (1, 10)
    samples = json.loads((out / "evidence" / "onnxruntime__original" / "samples.json").read_text())
    assert len(samples["outputs"]["cosine"]) == 512 and samples["throughput"]["best"]


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_a_folder_of_images_a_class_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, openvino, "fp32", "int8_performance")
    with np.load(EVALUATION) as file:
        images, labels = file["image"][:120, 0], file["labels"][:120]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index}.png").write_bytes(png((255 - 255 * image).round().astype(np.uint8)))
    # Dark on light, where the network learned light on dark: without the table it would read nothing.
    (tmp_path / "edgehone.toml").write_text(f"{FEW_ROUNDS}[images]\nscale = {-1 / 255}\nmean = -1.0\n")
    more = {"evaluation": tmp_path / "digits", "backends": ["openvino"]}
    out = tmp_path / "bundle"
    decision = optimize(DIGITS, config_file=tmp_path / "edgehone.toml", out=out, **more)
    accuracy = decision.baseline.figure("accuracy")
    assert accuracy.value is not None
    assert accuracy.value > 0.95
    assert accuracy.n == 90  # a quarter is set aside for calibration
    assert decision.chosen is not None
    # The bundle prepares images as the evaluation did.
    bundle = edgehone.read(out)
    facts = infer(bundle, tmp_path / "digits", tmp_path / "scores.npz")
    assert len(facts["files"]) == 120
    with np.load(tmp_path / "scores.npz") as file:
        read = file["logits"].argmax(1)
    wanted = [labels[int(name.removesuffix(".png"))] for name in facts["files"]]
    assert (read == wanted).mean() > 0.95
    first = tmp_path / "digits" / str(labels[0]) / "0.png"
    assert infer(bundle, first, tmp_path / "one.npz")["outputs"] == {"logits": [1, 10]}
    (tmp_path / "digits" / "3" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(edgehone.EdgehoneError, match=r"broken\.png cannot be read as an image"):
        optimize(DIGITS, config_file=tmp_path / "edgehone.toml", **more)


def test_bad_samples_are_refused_before_anything_slow(own_home: Path, tmp_path: Path) -> None:
    def refused(what: str, **given: Any) -> None:
        with pytest.raises(InputError, match=what) as caught:
            optimize(DIGITS, **given)
        assert caught.value.exit_code == 2 and caught.value.hint
        assert not (own_home / "envs").exists()

    np.savez(tmp_path / "shape.npz", image=np.zeros((20, 1, 9, 8), np.float32))
    np.savez(tmp_path / "name.npz", picture=np.zeros((20, 1, 8, 8), np.float32))
    refused("none are given")
    refused(r"shape \[20, 1, 9, 8\]", evaluation=tmp_path / "shape.npz")
    refused("the model's inputs are image", evaluation=tmp_path / "name.npz")
    refused("did you mean 'accuracy'", evaluation=EVALUATION, metric="acuracy")
    refused("which this model does not do", evaluation=EVALUATION, workload="chat")
    refused("needs a language model", evaluation=EVALUATION, task=tmp_path / "task.jsonl")


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_an_encoder_is_optimized_on_texts_of_its_own(
    tiny_encoders: dict[str, Path], tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, llamacpp, "F32", "Q8_0")
    only(monkeypatch, openvino, "fp32", "int8_weights")
    texts = tmp_path / "texts.jsonl"
    words = ["the union", "a treaty", "of peace", "with mexico", "the treasury", "an army", "our citizens"]
    lines = [{"text": f"{a} and {b} of {c}"} for a in words for b in words for c in words[:2]]
    texts.write_text("\n".join(json.dumps(line) for line in lines))
    decision = optimize(
        tiny_encoders["feature-extraction"],
        evaluation=texts,
        backends=["llamacpp", "openvino"],
        config_file=config,
        out=tmp_path / "bundle",
    )
    bundle = edgehone.read(tmp_path / "bundle")
    assert bundle.tokenizer and (bundle.tokenizer / "tokenizer.json").is_file()
    assert bundle.manifest.tokenizer == "original" and bundle.manifest.embedding is not None
    assert "no modules.json of sentence-transformers" in bundle.manifest.embedding["refused"]
    assert len(canaries.read(tmp_path / "bundle" / "canaries")) == 3
    assert decision.workload["name"] == "embed"
    by_key = {c.key: c for c in decision.candidates}
    assert {one.backend for one in decision.conversions if one.passed} == {"llamacpp", "openvino"}, by_key
    assert all(c.figure("cosine").value for c in by_key.values() if c.status == "ok")


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_an_exported_program_is_optimized(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, openvino, "fp32")
    only(monkeypatch, olive, "fp32", "int8_static", "int8_dynamic")
    program = tmp_path / "program.pt2"
    python = environment.ensure("pytorch", backend.NEEDS, lambda what: None).python
    import subprocess

    subprocess.run([python, "-c", EXPORT, str(program)], check=True, capture_output=True)
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32))
    try:
        backends = ["openvino", "olive"]
        decision = optimize(program, evaluation=tmp_path / "x.npz", backends=backends, config_file=config)
    except NothingPasses as error:
        decision = error.decision
    assert {one.backend: one.passed for one in decision.conversions} == {"openvino": True, "olive": True}
    assert decision.baseline.backend == "pytorch"
    alive = {one.key for one in decision.candidates if one.status == "ok"}
    assert {"olive/int8_static", "olive/int8_dynamic"} <= alive


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_a_voice_whose_sounds_are_of_unequal_length(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, make_example: Callable[..., Path]
) -> None:
    only(monkeypatch, openvino, "fp32")
    only(monkeypatch, olive, "fp32", "int8_dynamic")
    voice = make_example("make_tiny_voice.py", "voice", "--samples", "32", backend="olive")
    samples, out = voice / "samples.npz", tmp_path / "bundle"
    decision = optimize(
        voice / "model.onnx", evaluation=samples, backends=["openvino", "olive"], config_file=config, out=out
    )
    assert {one.backend: one.passed for one in decision.conversions} == {"openvino": True, "olive": True}
    quantized = next(one for one in decision.candidates if one.key == "olive/int8_dynamic")
    # Its durations differ in a few frames, so that entries at the same place have nothing to do with each other.
    kept, error = (quantized.figure(name).value for name in ("accuracy_kept", "relative_error"))
    assert kept is not None and error is not None and 0.97 < kept < 1 and error > 0.05
    assert any("is judged as a sound" in note for note in decision.notes)
    infer(edgehone.read(out), samples, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        sizes = found["output (size)"][:, 1]
        assert len(set(sizes)) > 5 and found["output"].shape == (32, 1, sizes.max())
        for sound, size in zip(found["output"][:, 0], sizes, strict=True):
            assert sound[:size].any() and not sound[size:].any()

    with np.load(samples) as quiet:
        np.savez(tmp_path / "drawn.npz", **{**quiet, "scales": np.array([0.7, 1, 0.8], np.float32)})
    with pytest.raises(ModelError, match=r"differs from itself: .* the output 'output' has the shape"):
        optimize(
            voice / "model.onnx", evaluation=tmp_path / "drawn.npz", backends=["olive"], config_file=config
        )


EXPORT = """
import sys, torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
class Named(torch.nn.Module):
    def __init__(self): super().__init__(); self.net = net
    def forward(self, x): return self.net(x)
batch = torch.export.Dim("batch", min=1, max=128)
program = torch.export.export(Named(), (torch.randn(2, 16),), dynamic_shapes={"x": {0: batch}})
torch.export.save(program, sys.argv[1])
"""
