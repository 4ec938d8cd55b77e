"""The olive backend: supported models, recipes, build steps, and the real toolchain on the demo model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.base import Step
from edgehone.backends.olive import backend
from edgehone.backends.pytorch import backend as pytorch
from edgehone.backends.pytorch import supported
from edgehone.core.errors import EdgehoneError
from edgehone.inputs.texts import shipped
from tests.models import LLAMA, recipes_up_to

RunWorker = Callable[..., dict[str, Any]]

BUILD = "edgehone.backends.olive.build"
SCORE = "edgehone.worker.score"
at_effort = partial(recipes_up_to, backend)


def chain(step: Step) -> Iterator[Step]:
    """Yield a step and all steps that it depends on."""
    yield step
    for below in step.inputs.values():
        yield from chain(below)


def test_a_llama_is_supported_with_a_note_about_awq() -> None:
    support = backend.supports(LLAMA)
    assert support.ok and len(support.reasons) == 1
    assert "no AWQ" in support.reasons[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "unheard_of"}, "unheard_of"),
        ({"remote_code": True}, "custom code"),
        ({"format": "null"}, "null"),
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
    assert backend.architectures().keys() <= supported.architectures()


def test_the_exact_recipe_comes_first_and_names_are_unique() -> None:
    recipes = backend.recipes(LLAMA)
    assert recipes[0].exact and [recipe.exact for recipe in recipes].count(True) == 1
    assert recipes[0].build == {"builder": {"precision": "fp32"}}
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert len({json.dumps(recipe.to_json() | {"name": ""}) for recipe in recipes}) == len(recipes)
    assert all(recipe.why for recipe in recipes)


def test_higher_effort_tries_more_recipes() -> None:
    quick = {recipe.name for recipe in at_effort("quick")}
    assert quick == {"fp32", "int8_g32", "int4_g32", "int4_g128+gptq+h8"}
    assert len(quick) < len(at_effort("normal")) < len(at_effort("thorough")) == len(backend.recipes(LLAMA))


def test_calibrated_recipes_read_the_calibration_text() -> None:
    for recipe in backend.recipes(LLAMA):
        reads = {name for step in chain(backend.steps(recipe)) for name in step.reads}
        assert ("calibration" in reads) == recipe.calibrated == ("gptq" in recipe.name)


def test_recipes_that_read_the_same_checkpoint_share_its_step() -> None:
    by_name = {recipe.name: backend.steps(recipe) for recipe in backend.recipes(LLAMA)}
    quantized_activations, float_activations = by_name["int4_g64+gptq+h8"], by_name["int4_g64+gptq+h8+a32"]
    assert (
        quantized_activations != float_activations
        and quantized_activations.inputs == float_activations.inputs
    )


def test_untied_embeddings_are_quantized_by_a_separate_pass() -> None:
    untied = backend.recipes(replace(LLAMA, tied_embeddings=False))
    assert backend.steps(untied[0]).call == f"{BUILD}:onnx"
    assert all(backend.steps(recipe).call == f"{BUILD}:compress" for recipe in untied[1:])
    tied = {recipe.name: backend.steps(recipe).call for recipe in backend.recipes(LLAMA)}
    assert {name for name, call in tied.items() if call == f"{BUILD}:compress"} == {
        "int8_g32_sym",
        "int4_g64+hqq",
    }


def test_groups_that_do_not_divide_the_rows_pass_their_effort_to_the_next_of_the_family() -> None:
    odd = replace(LLAMA, hidden_size=320, intermediate_size=864, heads=5)  # 864 = 27 * 32
    names = {recipe.name for recipe in backend.recipes(odd)}
    assert not any("g128" in name or "g64" in name for name in names)
    assert "int4_g32+gptq+h8" in {recipe.name for recipe in at_effort("quick", odd)}
    reasons = backend.supports(odd).reasons
    assert len(reasons) == 3 and "864 (intermediate)" in reasons[0]


def test_models_that_olives_passes_do_not_support_are_left_to_the_builder() -> None:
    phi = replace(LLAMA, model_type="phi")
    assert not backend.architectures()["phi"]
    assert not any("checkpoint" in recipe.build for recipe in backend.recipes(phi))
    assert {recipe.name for recipe in at_effort("quick", phi)} == {"fp32", "int4_g32", "int8_g32_sym"}
    assert "do not support 'phi'" in " ".join(backend.supports(phi).reasons)


def test_only_fp32_remains_if_no_group_fits() -> None:
    assert [recipe.name for recipe in backend.recipes(replace(LLAMA, hidden_size=100))] == ["fp32"]


@pytest.fixture
def prepared(run_worker: RunWorker, demo_model: Path, tmp_path: Path) -> dict[str, Path]:
    """The demo model's texts as ids, and the original's log-probabilities."""
    texts = {name: shipped(name) for name in ("evaluation", "calibration")}
    folders = {name: tmp_path / name for name in ("original", "prepared", "reference")}
    torch = {"backend": pytorch.__name__, "settings": {"dtype": "float32"}}
    run_worker("pytorch", f"{pytorch.__name__}:link_original", {}, {"model": demo_model}, folders["original"])
    inputs = {"model": demo_model, **texts}
    run_worker("pytorch", "edgehone.worker.prepare:prepare", torch, inputs, folders["prepared"])
    windows = {**torch, "bos": [1], "windows": 4, "window": 128}
    inputs = {"artifact": folders["original"], "prepared": folders["prepared"]}
    run_worker("pytorch", f"{SCORE}:reference", windows, inputs, folders["reference"])
    return folders


def test_bits_per_weight_include_scales_zero_points_head_and_embeddings() -> None:
    bits = {one.name: one.bits for one in backend.recipes(LLAMA)}
    assert bits["fp32"] == 32
    assert bits["int4_g32"] == pytest.approx(4 + 32 / 32)
    assert bits["int8_g32_sym"] == pytest.approx(8 + 32 / 32)
    model = replace(LLAMA, vocabulary=1000)  # head and embeddings: 0.256 of all weights
    tied, untied = (
        {one.name: one.bits or 0.0 for one in backend.recipes(replace(model, tied_embeddings=tied))}
        for tied in (True, False)
    )
    head, blocks = 8 + (32 + 8) / 64, 4 + (32 + 4) / 128
    assert tied["int4_g128+gptq+h8"] == pytest.approx(0.256 * head + 0.744 * blocks)
    assert untied["int4_g128+gptq+h8"] == pytest.approx(0.256 * (head + 9) + 0.488 * blocks)
    assert untied["int4_g32+h32"] > untied["int4_g32"]


@pytest.mark.real
def test_the_demo_model_is_built_quantized_scored_and_run(
    run_worker: RunWorker,
    demo_model: Path,
    prepared: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    parity = json.loads((prepared["prepared"] / "parity.json").read_text("utf-8"))
    sample = [one["ids"] for one in parity]
    sources = {"model": demo_model, "calibration": prepared["prepared"] / "calibration"}
    recipes = {recipe.name: recipe for recipe in backend.recipes(LLAMA)}
    kl, size = {}, {}
    for name, weight_types in WEIGHTS.items():
        artifact = tmp_path / name
        facts = build(run_worker, backend.steps(recipes[name]), sources, artifact)
        assert facts["bytes"] == sum(path.stat().st_size for path in artifact.iterdir())
        assert "CPUExecutionProvider" in facts["providers"]
        assert facts["weight_types"] == weight_types
        args = {"backend": backend.__name__, "settings": {}, "tokenize": True}
        inputs = {"artifact": artifact, "prepared": prepared["prepared"], "reference": prepared["reference"]}
        run_worker("olive", f"{SCORE}:score", args, inputs, tmp_path / "scored")
        assert json.loads((tmp_path / "scored" / "token_ids.json").read_text("utf-8")) == sample
        size[name] = facts["bytes"]
        kl[name] = float(np.load(tmp_path / "scored" / "tokens.npz")["kl"].mean())

        args = {"ids": [1, *range(300, 330)]}
        cold, given = recipes[name].exact, {"artifact": artifact}
        facts = run_worker("olive", "olivefunctions:probe", args, given, tmp_path / "run", cold=cold)
        assert not cold or (facts["alone"] and not facts["torch"])
        assert facts["chunks"] == [8, 8, 8, 7] and facts["dtype"] == "float32"
        assert facts["repeatable"] and facts["ordered"] and facts["times"] == 12
        assert facts["stopped"] == facts["ids"][: facts["ids"].index(facts["ids"][3]) + 1]
        assert facts["together"] == "3 prompts of 15 to 31 ids, 12 tokens each"
        assert facts["past_end"] == facts["ids"]
        assert facts["text"] == "Hello, café\n world"
        if recipes[name].exact:
            assert facts["ids"] == facts["argmax"]
            facts = run_worker("olive", "olivefunctions:fail_and_go_on", args, given, tmp_path / "failed")
            assert facts == {"failed": ["error", "error"], "same": True, "reason": "length"}

    assert kl["fp32"] < 1e-5 and kl["int8_g32"] < 1e-3
    # GPTQ has about half the divergence of the builder's default in fewer bytes, over 24 windows of 256.
    assert kl["int4_g128+gptq+h8"] < 0.6 * kl["int4_g32"] < 3e-2
    assert kl["int4_g64+hqq"] < 5e-2  # Olive's pass of that name gives 6.6
    assert size["int4_g128+gptq+h8"] < size["int4_g32"] < size["int8_g32"] < size["fp32"]


# Expected weights of each build: 4 layers of 5 products (query, key and value are fused), the head, the embeddings.
WEIGHTS = {
    "fp32": {"MatMul float": 21},
    "int4_g32": {
        "MatMulNBits 4 bits in blocks of 32": 21,
        "GatherBlockQuantized 4 bits in blocks of 32": 1,
    },
    "int8_g32": {
        "MatMulNBits 8 bits in blocks of 32": 21,
        "GatherBlockQuantized 8 bits in blocks of 32": 1,
    },
    "int4_g64+hqq": {
        "MatMulNBits 4 bits in blocks of 64": 21,
        "GatherBlockQuantized 8 bits in blocks of 32": 1,
    },
    "int4_g128+gptq+h8": {
        "MatMulNBits 4 bits in blocks of 128": 20,
        "MatMulNBits 8 bits in blocks of 64": 1,
        "GatherBlockQuantized 8 bits in blocks of 64": 1,
    },
}


def build(run_worker: RunWorker, step: Step, sources: dict[str, Path], out: Path) -> dict[str, Any]:
    """Run a step after the steps it depends on; return the last one's facts."""
    inputs = {name: sources[name] for name in step.reads}
    for name, source in step.inputs.items():
        inputs[name] = out.with_name(f"{out.name}-{name}")
        build(run_worker, source, sources, inputs[name])
    return run_worker("olive", step.call, dict(step.params), inputs, out)


@pytest.mark.real
def test_a_model_without_weights_fails_with_the_cause(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for path in demo_model.iterdir():
        if path.suffix != ".safetensors":
            (model / path.name).write_bytes(path.read_bytes())
    with pytest.raises(EdgehoneError, match="no file named"):
        run_worker("olive", f"{BUILD}:onnx", {"precision": "fp32"}, {"model": model}, tmp_path / "out")
