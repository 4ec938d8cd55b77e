"""The mlx backend: supported models, recipes, build steps, and the real toolchain on the demo model."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.mlx import backend, build
from edgehone.backends.pytorch import backend as pytorch
from edgehone.backends.pytorch import supported
from edgehone.core.errors import EdgehoneError, JobError
from edgehone.device.facts import Device
from edgehone.inputs.texts import shipped
from tests.models import LLAMA, recipes_up_to

RunWorker = Callable[..., dict[str, Any]]
BUILD = "edgehone.backends.mlx.build"
SCORE = "edgehone.worker.score"
at_effort = partial(recipes_up_to, backend)
# By recipe: a limit of the mean KL divergence, and the types of weights. Measured on the demo model were 2e-12, 1.2e-4,
# 3.0e-2, 2.4e-2, 1.8e-2, 1.5e-2.
MOST: dict[str, tuple[float, dict[str, int]]] = {
    "float": (1e-6, {}),
    "q8_g64": (5e-4, {"8-bit g64": 29}),
    "q4_g64": (6e-2, {"4-bit g64": 29}),
    "mixed_4_6_g64": (5e-2, {"4-bit g64": 25, "6-bit g64": 4}),
    "q4_g64+gptq": (4e-2, {"4-bit g64": 29}),
    "q4_g128_e5+gptq": (4e-2, {"4-bit g128": 28, "5-bit g64": 1}),
}
FEW = ("float", "q8_g64", "q4_g64", "q4_g64+gptq")


def test_a_llama_is_supported_with_a_note_about_dwq() -> None:
    support = backend.supports(LLAMA)
    assert support.ok and support.reasons == (backend.NO_DWQ,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "unheard_of"}, "unheard_of"),
        ({"model_type": "bitnet"}, "bitnet"),
        ({"remote_code": True}, "custom code"),
        ({"format": "gguf"}, "gguf"),
        ({"task": "image-classification"}, "image-classification"),
        ({"quantized": "gptq"}, "gptq"),
    ],
)
def test_an_unsupported_model_is_refused_with_the_offending_value(
    change: dict[str, Any], reason: str
) -> None:
    support = backend.supports(replace(LLAMA, **change))
    assert not support.ok
    assert reason in " ".join(support.reasons)


def test_the_original_of_every_supported_architecture_can_be_run() -> None:
    assert backend.architectures() <= supported.architectures()


def test_speed_is_measurable_only_on_apple_silicon() -> None:
    machine = Device(architecture="x86_64", os="Debian GNU/Linux 12 (bookworm)", python="3.11", threads=2)
    assert "Apple" in (backend.measurement_obstacle(machine) or "")
    assert "Apple" in (backend.measurement_obstacle(replace(machine, architecture="aarch64")) or "")
    assert backend.measurement_obstacle(replace(machine, architecture="arm64", os="macOS 15.1")) is None


def test_the_exact_recipe_comes_first_and_names_are_unique() -> None:
    recipes = backend.recipes(LLAMA)
    assert recipes[0].exact and [recipe.exact for recipe in recipes].count(True) == 1
    assert recipes[0].settings == {"compute": "float32"}
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert len({json.dumps(recipe.to_json() | {"name": ""}) for recipe in recipes}) == len(recipes)
    assert all(recipe.why and "dtype" in recipe.build for recipe in recipes)


def test_higher_effort_tries_more_recipes() -> None:
    assert {recipe.name for recipe in at_effort("quick")} == {"float", "q8_g64", "q4_g128_e5+gptq"}
    assert len(at_effort("quick")) < len(at_effort("normal")) < len(at_effort("thorough"))


def test_all_recipes_are_quantized_from_the_same_floats() -> None:
    floats = backend.steps(backend.recipes(LLAMA)[0])
    assert floats.reads == ("model",) and floats.call == f"{BUILD}:convert"
    for recipe in backend.recipes(LLAMA)[1:]:
        step = backend.steps(recipe)
        assert step.call == f"{BUILD}:quantize" and step.inputs == {"floats": floats}
        assert ("calibration" in step.reads) == recipe.calibrated == ("learned" in recipe.build)


def test_groups_that_do_not_divide_the_rows_pass_their_effort_to_the_next_of_the_family() -> None:
    odd = replace(LLAMA, hidden_size=320, intermediate_size=864, heads=5)  # 864 = 27 * 32
    names = {recipe.name for recipe in backend.recipes(odd)}
    assert not any("g128" in name or "g64" in name for name in names)
    assert {recipe.name for recipe in at_effort("quick", odd)} == {"float", "q8_g32", "q4_g32+gptq"}
    reasons = backend.supports(odd).reasons
    assert len(reasons) == 3 and "864 (intermediate)" in reasons[0]


def test_only_floats_remain_if_no_group_fits() -> None:
    odd = replace(LLAMA, hidden_size=100)
    assert {recipe.name for recipe in backend.recipes(odd)} == {"float", "f16"}


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ({}, {}),
        ({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}}, {}),
        ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, {"rope_theta": 5e5}),
        (
            {"rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0}},
            {"rope_theta": 5e5, "rope_scaling": {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0}},
        ),
        (
            {
                "rope_parameters": {
                    "full_attention": {"rope_theta": 1e6, "rope_type": "default"},
                    "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
                }
            },
            {"rope_theta": 1e6, "rope_local_base_freq": 1e4},
        ),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
         {"rope_theta": 1e4, "partial_rotary_factor": 0.5}),
    ],
)  # fmt: skip
def test_rotary_settings_get_the_names_that_mlx_lm_reads(
    config: dict[str, Any], settings: dict[str, Any]
) -> None:
    assert build.rope(config) == settings


def folder_of(folder: Path, quantization: dict[str, Any]) -> Path:
    """Write an MLX folder with a matrix of 8 rows of 128 weights at 4 bits in groups of 64, and a norm."""
    shapes = {
        "a.weight": ("U32", [8, 16]),
        "a.scales": ("F16", [8, 2]),
        "a.biases": ("F16", [8, 2]),
        "norm.weight": ("F16", [128]),
    }
    header, at = {}, 0
    for name, (dtype, shape) in shapes.items():
        size = int(np.prod(shape)) * (4 if dtype == "U32" else 2)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))
    (folder / "config.json").write_text(json.dumps({"quantization": quantization}))
    return folder


def test_bits_are_computed_from_the_files(tmp_path: Path) -> None:
    facts = build.facts(folder_of(tmp_path, {"bits": 4, "group_size": 64}))
    assert facts["weight_types"] == {"4-bit g64": 1}
    assert facts["bits_per_weight"] == (8 * 128 * 4.5 + 128 * 16) / (8 * 128 + 128)
    exceptions = {"bits": 8, "group_size": 32, "a": {"bits": 4, "group_size": 64}}
    assert build.facts(folder_of(tmp_path, exceptions))["weight_types"] == {"4-bit g64": 1}


def test_a_configuration_that_contradicts_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"a\.weight has 4 bits a weight, config\.json says 8"):
        build.facts(folder_of(tmp_path, {"bits": 8, "group_size": 64}))


@pytest.mark.real
@pytest.mark.parametrize(
    "names", [FEW, pytest.param(tuple(MOST), marks=pytest.mark.long)], ids=["few", "all"]
)
def test_the_demo_model_is_converted_quantized_scored_and_run(
    names: tuple[str, ...],
    run_worker: RunWorker,
    demo_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    texts = {name: shipped(name) for name in ("evaluation", "calibration")}
    original, prepared, reference = tmp_path / "original", tmp_path / "prepared", tmp_path / "reference"
    torch = {"backend": pytorch.__name__, "settings": {"dtype": "float32"}}
    run_worker("pytorch", f"{pytorch.__name__}:link_original", {}, {"model": demo_model}, original)
    run_worker("pytorch", "edgehone.worker.prepare:prepare", torch, {"model": demo_model, **texts}, prepared)
    run_worker(
        "pytorch",
        f"{SCORE}:reference",
        {**torch, "bos": [1], "windows": 4, "window": 128},
        {"artifact": original, "prepared": prepared},
        reference,
    )
    parity = json.loads((prepared / "parity.json").read_text("utf-8"))
    sample = [one["ids"] for one in parity]
    ids = [1, *range(300, 330)]

    floats = tmp_path / "floats"
    facts = run_worker("mlx", f"{BUILD}:convert", {"dtype": "stored"}, {"model": demo_model}, floats)
    assert facts["weight_types"] == {"BF16": 29} and facts["bits_per_weight"] == 16
    assert facts["bytes"] == sum(path.stat().st_size for path in floats.iterdir())

    kl, sizes = {}, {}
    for name in names:
        most, types = MOST[name]
        recipe = next(recipe for recipe in backend.recipes(LLAMA) if recipe.name == name)
        step, artifact = backend.steps(recipe), floats
        if not recipe.exact:
            artifact = tmp_path / name
            inputs = {"floats": floats}
            if recipe.calibrated:
                inputs["calibration"] = prepared / "calibration"
            facts = run_worker("mlx", step.call, dict(step.params), inputs, artifact)
            assert facts["weight_types"] == types
            sizes[name] = (artifact / "model.safetensors").stat().st_size
        args = {"backend": backend.__name__, "settings": dict(recipe.settings), "tokenize": True}
        inputs = {"artifact": artifact, "prepared": prepared, "reference": reference}
        run_worker("mlx", f"{SCORE}:score", args, inputs, tmp_path / "scored")
        assert json.loads((tmp_path / "scored" / "token_ids.json").read_text("utf-8")) == sample
        kl[name] = np.load(tmp_path / "scored" / "tokens.npz")["kl"].mean()
        assert kl[name] < most
    if "q4_g128_e5+gptq" in names:
        # With more bits for the embeddings, the divergence is lower in fewer bytes.
        assert sizes["q4_g128_e5+gptq"] < sizes["q4_g64"]
        assert kl["q4_g128_e5+gptq"] < 0.6 * kl["q4_g64"]
    # At the same size, GPTQ has a lower divergence than rounding to nearest.
    assert sizes["q4_g64+gptq"] == sizes["q4_g64"]
    assert kl["q4_g64+gptq"] < 0.8 * kl["q4_g64"]

    for artifact, settings in ((floats, {"compute": "float32"}), (tmp_path / "q4_g64", {})):
        args = {"ids": ids, "settings": settings}
        facts = run_worker("mlx", "mlxfunctions:probe", args, {"artifact": artifact}, tmp_path / "run")
        assert facts["chunks"] == [8, 8, 8, 7] and facts["dtype"] == "float32"
        assert facts["repeatable"] and facts["ordered"] and facts["times"] == 12
        assert facts["stopped"] == facts["ids"][: facts["ids"].index(facts["ids"][3]) + 1]
        assert facts["text"] == "Hello, café\n world"
        assert facts["ids"] == facts["argmax"]

    # The same weights as floats and with MLX's quantized kernels. In float32 they differ by rounding only; in float16
    # the CPU kernels also accumulate in float16, which costs 2e-4 nats (the GPU kernels accumulate in float32).
    for settings, most in (({"compute": "float32"}, 1e-6), ({}, 2e-3)):
        args = {"ids": ids[:8], "settings": settings}
        facts = run_worker(
            "mlx", "mlxfunctions:compare", args, {"artifact": tmp_path / "q4_g64"}, tmp_path / "run"
        )
        assert 0 <= abs(facts["kl"]) < most, facts


@pytest.mark.real
def test_a_model_without_weights_fails_with_the_cause(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for path in demo_model.iterdir():
        if path.suffix != ".safetensors":
            (model / path.name).write_bytes(path.read_bytes())
    with pytest.raises(EdgehoneError, match="No safetensors found"):
        run_worker("mlx", f"{BUILD}:convert", {}, {"model": model}, tmp_path / "out")


@pytest.mark.real
def test_code_in_the_model_folder_is_not_run(run_worker: RunWorker, demo_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for path in demo_model.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    config = json.loads((model / "config.json").read_text("utf-8"))
    (model / "config.json").write_text(json.dumps(config | {"model_file": "evil.py"}))
    (model / "evil.py").write_text(f"open({str(tmp_path / 'was-here')!r}, 'w')")
    run_worker("mlx", f"{BUILD}:convert", {"dtype": "stored"}, {"model": model}, tmp_path / "out")
    assert not (tmp_path / "was-here").exists() and not (tmp_path / "out" / "evil.py").exists()
