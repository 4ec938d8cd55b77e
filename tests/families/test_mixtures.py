"""Mixtures of experts on each backend that tells its routing: agreement, precision of routers, and surgery."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends import registry
from edgehone.evaluation import routing

RunWorker = Callable[..., dict[str, Any]]
Note = Callable[..., Path]
ROUTING = "edgehone.worker.routing:routing"
EXPORT = "edgehone.backends.openvino.build:export"
COMPRESS = "edgehone.backends.openvino.build:compress"
LLAMACPP = "edgehone.backends.llamacpp.build"


@pytest.fixture
def note(run_worker: RunWorker, tmp_path: Path) -> Note:
    """Runs `measure.routing` on four windows of made-up ids and gives its folder."""
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    ids = [(7 * i * i + 3) % 2000 + 10 for i in range(400)]
    (prepared / "evaluation.json").write_text(json.dumps({"ids": ids, "bytes": [1] * len(ids)}))
    reference = {"bos": [1], "windows": 4, "window": 64, "start": 0}
    (prepared / "reference.json").write_text(json.dumps(reference))

    def run(backend: str, artifact: Path, **settings: str) -> Path:
        args = {"backend": registry.module_name(backend), "settings": settings}
        inputs = {"artifact": artifact, "prepared": prepared, "reference": prepared}
        out = tmp_path / f"{backend} {artifact.name}"
        facts = run_worker(backend, ROUTING, args, inputs, out)
        assert facts["tokens"] == 256
        return out

    return run


def agreement(original: Path, candidate: Path, surgery: dict[str, Any] | None = None) -> float:
    value = routing.agreement(original, candidate, surgery)[0].value
    assert value is not None
    return value


@pytest.mark.real
def test_openvino_chooses_the_same_experts_and_can_keep_its_routers_in_16_bits(
    run_worker: RunWorker, tiny_families: Callable[[str], Path], note: Note, tmp_path: Path
) -> None:
    model, exact = tiny_families("mixtral"), tmp_path / "fp16"
    facts = run_worker("openvino", EXPORT, {}, {"model": model}, exact)
    assert facts["experts"] == {"router": {"f16": 4}, "experts": {"f16": 12}}
    wanted = note("pytorch", model, dtype="float32")
    same = agreement(wanted, note("openvino", exact, kv_cache="f16", inference_precision="f32"))
    assert same > 0.98
    found = {}
    for name, more in (("int4", {}), ("int4+router16", {"router": "float16"})):
        args = {"mode": "int4_asym", "group_size": 64, "ratio": 1.0, **more}
        facts = run_worker("openvino", COMPRESS, args, {"fp16": exact}, tmp_path / name)
        assert facts["experts"]["experts"] == {"u4": 12}
        # By default NNCF takes the routers to 4 bits like everything else.
        assert facts["experts"]["router"] == {"f16" if more else "u4": 4}
        found[name] = agreement(wanted, note("openvino", tmp_path / name, kv_cache="u8"))
    # With random weights the rest's rounding decides as much as the router's own.
    assert all(0.2 < value < same for value in found.values())


@pytest.mark.real
def test_llamacpp_chooses_the_same_experts_also_after_surgery(
    run_worker: RunWorker, tiny_families: Callable[[str], Path], note: Note, tmp_path: Path
) -> None:
    model, exact, small = tiny_families("mixtral"), tmp_path / "f16", tmp_path / "q4"
    facts = run_worker("llamacpp", f"{LLAMACPP}:convert", {}, {"model": model}, exact)
    # llama.cpp leaves the routers as they are, whatever becomes of the rest.
    assert facts["experts"] == {"router": {"F32": 4}, "experts": {"F16": 12}}
    args = {"type": "Q4_0", "tensor_types": {"ffn_.*_exps": "q8_0"}}
    facts = run_worker("llamacpp", f"{LLAMACPP}:quantize", args, {"converted": exact}, small)
    assert facts["experts"] == {"router": {"F32": 4}, "experts": {"Q8_0": 12}}
    assert facts["tensor_types"]["Q4_0"] > 5

    wanted = note("pytorch", model, dtype="float32")
    same, fewer = agreement(wanted, note("llamacpp", exact)), agreement(wanted, note("llamacpp", small))
    assert 0.3 < fewer < same and same > 0.98

    shares = [0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05]
    measured = {"experts": 8, "per_token": 2, "mass": {str(block): shares for block in range(4)}}
    (tmp_path / "measured.json").write_text(json.dumps(measured))
    inputs = {"model": model, "measured": tmp_path}
    pruned = tmp_path / "pruned"
    facts = run_worker("pytorch", "edgehone.transform.surgery.experts:prune", {"share": 0.25}, inputs, pruned)
    assert facts["experts_dropped"] == 2 and facts["mass_dropped"] == pytest.approx(0.1)
    converted = tmp_path / "converted"
    run_worker("llamacpp", f"{LLAMACPP}:convert", {}, {"model": pruned}, converted)
    torch, ggml = note("pytorch", pruned, dtype="float32"), note("llamacpp", converted)
    # Both run the pruned model alike, and differ alike from the original, under its experts' numbers.
    assert agreement(torch, ggml) > 0.98
    assert agreement(wanted, ggml, surgery=facts) == pytest.approx(
        agreement(wanted, torch, surgery=facts), abs=0.02
    )
    assert agreement(wanted, ggml, surgery=facts) < 0.9


@pytest.mark.real
def test_a_model_without_experts_has_no_routing(
    run_worker: RunWorker, demo_model: Path, note: Note, tmp_path: Path
) -> None:
    dense = tmp_path / "dense"
    facts = run_worker("llamacpp", f"{LLAMACPP}:convert", {}, {"model": demo_model}, dense)
    assert "experts" not in facts
    with pytest.raises(Exception, match="the chosen experts are unknown"):
        note("llamacpp", dense)
    with pytest.raises(Exception, match="no router"):
        note("pytorch", demo_model)


@pytest.mark.real
def test_mlx_scores_quantized_experts_without_a_gpu(
    run_worker: RunWorker, tiny_families: Callable[[str], Path], tmp_path: Path
) -> None:
    """The gather-matmul of MLX's CPU backend takes float32 only; experts are dequantized for it."""
    model, floats, prepared = tiny_families("mixtral"), tmp_path / "floats", tmp_path / "prepared"
    prepared.mkdir()
    ids = [(7 * i * i + 3) % 2000 + 10 for i in range(200)]
    (prepared / "evaluation.json").write_text(json.dumps({"ids": ids, "bytes": [1] * len(ids)}))
    torch = {"backend": registry.module_name("pytorch"), "settings": {"dtype": "float32"}}
    args = {**torch, "bos": [1], "windows": 2, "window": 64}
    reference = tmp_path / "reference"
    inputs = {"artifact": model, "prepared": prepared}
    run_worker("pytorch", "edgehone.worker.score:reference", args, inputs, reference)
    run_worker("mlx", "edgehone.backends.mlx.build:convert", {"dtype": "stored"}, {"model": model}, floats)
    divergence = {}
    for name, build in (("f16", {}), ("q8", {"bits": 8, "group": 64}), ("q4", {"bits": 4, "group": 64})):
        artifact = tmp_path / name
        args = {"dtype": "float16", **build}
        facts = run_worker("mlx", "edgehone.backends.mlx.build:quantize", args, {"floats": floats}, artifact)
        assert (facts["quantized_share"] > 0.9) == bool(build)
        scoring = {"backend": registry.module_name("mlx"), "settings": {}}
        inputs = {"artifact": artifact, "prepared": prepared, "reference": reference}
        run_worker("mlx", "edgehone.worker.score:score", scoring, inputs, tmp_path / f"scored {name}")
        divergence[name] = float(np.load(tmp_path / f"scored {name}" / "tokens.npz")["kl"].mean())
    assert divergence["f16"] < divergence["q8"] < divergence["q4"] and divergence["q8"] < 0.05, divergence
