"""The llamacpp backend: support, recipes, steps, and the real toolchain on the demo model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.base import EFFORTS, Recipe, Step
from edgehone.backends.llamacpp import backend, build, gptq_work
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError, JobError, SetupError, TextError
from edgehone.model.info import ModelInfo
from tests.models import LLAMA

RunWorker = Callable[..., dict[str, Any]]
BUILD = "edgehone.backends.llamacpp.build"
GPTQ = "edgehone.backends.llamacpp.gptq"


def recipe(name: str, model: ModelInfo = LLAMA) -> Recipe:
    return next(made for made in backend.recipes(model) if made.name == name)


def chain(step: Step) -> list[str]:
    """Return the calls of a step and of its inputs, without duplicates, the step's own last."""
    calls: list[str] = []
    for read in step.inputs.values():
        calls += [call for call in chain(read) if call not in calls]
    return [*calls, step.call.removeprefix(f"{BUILD}:")]


def test_a_llama_is_supported_without_notes() -> None:
    support = backend.supports(LLAMA)
    assert support.ok and support.reasons == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"architecture": "UnheardOfForCausalLM"}, "UnheardOfForCausalLM"),
        ({"architecture": ""}, "no architecture ''"),
        ({"architecture": "BertModel", "task": "fill-mask"}, "fill-mask"),
        ({"remote_code": True}, "remote code"),
        ({"quantized": "gptq"}, "gptq"),
        ({"format": "onnx", "task": "graph"}, "onnx"),
        ({"task": "text-classification"}, "heads"),
        ({"task": "feature-extraction", "model_type": "t5"}, "not 't5'"),
        ({"task": "image-text-to-text"}, "are supported, not 'llama', which was never compared"),
        ({"format": "gguf", "task": "feature-extraction"}, "feature-extraction"),
    ],
)
def test_unsupported_models_are_refused_with_the_reason(change: dict[str, Any], reason: str) -> None:
    support = backend.supports(replace(LLAMA, **change))
    assert not support.ok
    assert any(reason in said for said in support.reasons)


def test_all_reasons_for_a_refusal_are_listed() -> None:
    assert len(backend.supports(replace(LLAMA, quantized="awq", remote_code=True)).reasons) == 2


@pytest.mark.parametrize("kind", ["bpe", "unigram", None])
def test_a_tokenizer_that_may_fail_to_convert_is_a_note(kind: str | None) -> None:
    support = backend.supports(replace(LLAMA, tokenizer=kind))
    assert support.ok
    assert "pre-tokenizer" in support.reasons[0]


def test_the_list_of_architectures_has_only_names() -> None:
    names = backend.architectures()
    assert {"LlamaForCausalLM", "Qwen3ForCausalLM", "Gemma3ForCausalLM", "Phi3ForCausalLM"} <= names
    assert all(re.fullmatch(r"[\w.]+", name) for name in names)


def test_the_first_recipe_is_the_only_exact_one() -> None:
    made = backend.recipes(LLAMA)
    assert [each.name for each in made if each.exact] == [made[0].name] == ["F16"]


def test_each_quantized_type_has_recipes_with_and_without_an_importance_matrix() -> None:
    made = [each for each in backend.recipes(LLAMA) if "draft" not in each.build]
    plain = {each.name for each in made if not each.exact and not each.calibrated}
    assert plain == {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K"}
    mixes = {f"mix-{bits}+imatrix" for bits in ("3", "3.5", "4", "5", "5.6")}
    calibrated_only = {
        "IQ3_XS",
        "IQ3_XXS",
        "IQ2_M",
        "IQ2_XS",
    }  # llama-quantize refuses some of them otherwise
    expected = {f"{name}+imatrix" for name in plain | calibrated_only} | mixes
    assert {each.name for each in made if each.calibrated} == expected
    assert len({each.key for each in made}) == len(made) == 26
    assert all(each.effort == "thorough" for each in made if (each.bits or 16) < 4.1)


def test_few_recipes_have_quick_effort() -> None:
    quick = {each.name for each in backend.recipes(LLAMA) if each.effort == "quick"}
    assert quick == {"F16", "Q8_0", "Q4_K_M", "Q4_K_M+imatrix", "Q4_0"}
    assert {each.effort for each in backend.recipes(LLAMA)} <= set(EFFORTS)


def test_gptq_replaces_other_recipes_at_quick_effort() -> None:
    known = replace(LLAMA, layers=4)
    quick = {each.name for each in backend.recipes(known) if each.effort == "quick"}
    assert quick == {"F16", "Q8_0", "Q4_K_V+gptq", "Q4_0+gptq", "Q4_0"}
    assert recipe("Q2_K+gptq", known).effort == recipe("Q3_K_M+gptq", known).effort == "thorough"
    step = backend.steps(recipe("Q4_K_M+gptq", known))
    assert set(step.inputs) == {"quantized", "converted"}
    assert step.inputs["quantized"] == backend.steps(recipe("Q4_K_M+imatrix", known))
    assert recipe("Q4_0+gptq", known).calibrated
    mixed = backend.steps(recipe("Q4_K_V+gptq", known)).inputs["quantized"]
    assert mixed.params["type"] == "Q4_K_S" and mixed.params["tensor_types"]["attn_v"] == "q6_K"


@pytest.mark.parametrize("change", [{"experts": 8}, {"layers": None}, {"task": "unknown"}])
def test_gptq_is_not_offered_for_unsupported_models(change: dict[str, Any]) -> None:
    made = backend.recipes(replace(LLAMA, **{"layers": 4, **change}))
    assert not [each for each in made if "gptq" in each.name]


def test_every_recipe_states_its_bits_per_weight() -> None:
    assert all(re.match(r"[\d.]+ bits per weight; ", each.why) for each in backend.recipes(LLAMA))


def test_rows_that_do_not_fit_the_block_are_listed_with_their_type() -> None:
    odd = replace(LLAMA, hidden_size=320, heads=5)
    assert "rows of 320 are not divisible by 256 and become Q5_0" in recipe("Q4_K_M", odd).why
    assert "do not divide" not in recipe("Q4_0", odd).why
    assert "do not divide" not in recipe("Q4_K_M").why
    assert "become F16" in recipe("Q8_0", replace(LLAMA, hidden_size=100)).why


def test_recipes_exist_without_known_sizes() -> None:
    bare = replace(LLAMA, hidden_size=None, intermediate_size=None, heads=None, head_dim=None)
    assert len(backend.recipes(bare)) == 27


def test_the_chain_of_steps() -> None:
    assert chain(backend.steps(recipe("F16"))) == ["convert"]
    assert chain(backend.steps(recipe("Q4_K_M"))) == ["convert", "quantize"]
    assert chain(backend.steps(recipe("Q4_K_M+imatrix"))) == ["convert", "imatrix", "quantize"]


def test_recipes_share_equal_steps() -> None:
    first, second = backend.steps(recipe("Q4_0+imatrix")), backend.steps(recipe("Q8_0+imatrix"))
    assert first.inputs == second.inputs
    assert first.params != second.params
    assert first.inputs["converted"] == backend.steps(recipe("F16"))
    assert first.inputs["imatrix"].reads == ("calibration",)


def test_lock_and_toolchain_exist() -> None:
    lock = backend.NEEDS.lock
    assert lock is not None
    lines = [line for line in lock.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert all(re.match(r"[\w.-]+==[\w.]+( ; .+)?$", line) for line in lines)
    assert not [line for line in lines if line.startswith(("nvidia", "cuda", "triton"))]


@pytest.fixture
def bare_job(tmp_path: Path) -> Callable[..., WorkerJob]:
    """Return a function that makes a job whose toolchain is a folder that the test fills."""

    def make(toolchain: Path | None, **inputs: Path) -> WorkerJob:
        (tmp_path / "out").mkdir(exist_ok=True)
        return WorkerJob(
            {"type": "Q4_0"}, inputs, tmp_path / "out", toolchain, 1, lambda fraction, what: None
        )

    return make


def test_a_missing_toolchain_raises_a_setup_error_with_a_hint(
    bare_job: Callable[..., WorkerJob], tmp_path: Path
) -> None:
    with pytest.raises(SetupError) as caught:
        build.quantize(bare_job(None, converted=tmp_path))
    assert caught.value.hint == "edgehone backends install llamacpp"


def test_a_failing_tool_raises_a_job_error_with_its_message(
    bare_job: Callable[..., WorkerJob], tmp_path: Path
) -> None:
    script = tmp_path / "bin" / "llama-quantize"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho loading\necho 'error: tensor blk.0 is odd'\necho bye\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(JobError, match=r"llama-quantize failed: error: tensor blk\.0 is odd"):
        build.quantize(bare_job(tmp_path, converted=tmp_path))


def test_a_killed_tool_raises_a_job_error_that_mentions_memory(
    bare_job: Callable[..., WorkerJob], tmp_path: Path
) -> None:
    script = tmp_path / "llama-quantize"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o755)
    with pytest.raises(JobError, match=r"llama-quantize was killed, .* memory"):
        build.quantize(bare_job(tmp_path, converted=tmp_path))


def test_a_calibration_text_that_is_too_short_raises_a_text_error(
    bare_job: Callable[..., WorkerJob], tmp_path: Path
) -> None:
    (tmp_path / "ids.json").write_text(json.dumps([1, 2, 3]))
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(16))
    with pytest.raises(TextError, match="3 tokens"):
        build.imatrix(bare_job(tmp_path, converted=tmp_path, calibration=tmp_path))


@pytest.fixture
def calibration(tmp_path: Path, demo_model: Path) -> Path:
    """Write a calibration folder. ids.json has about as many ids as the demo model's tokenizer gives."""
    folder = tmp_path / "calibration"
    folder.mkdir()
    text = "The ship lay at anchor, and the men went ashore to seek water and fruit. " * 150
    (folder / "calibration.txt").write_text(text, "utf-8")
    (folder / "ids.json").write_text(json.dumps([5] * 2500))
    return folder


@pytest.mark.real
def test_the_demo_model_is_built_and_agrees_with_the_original(
    run_worker: RunWorker,
    demo_model: Path,
    calibration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    before = {path.name: path.stat().st_mtime_ns for path in demo_model.iterdir()}
    exact, matrix, small = tmp_path / "f16", tmp_path / "matrix", tmp_path / "q4"

    facts = run_worker("llamacpp", f"{BUILD}:convert", {}, {"model": demo_model}, exact)
    assert set(facts["tensor_types"]) == {"F16", "F32"}
    assert facts["bytes"] == (exact / "model.gguf").stat().st_size
    assert {path.name: path.stat().st_mtime_ns for path in demo_model.iterdir()} == before

    inputs = {"converted": exact, "calibration": calibration}
    facts = run_worker("llamacpp", f"{BUILD}:imatrix", {}, inputs, matrix)
    assert facts["chunk"] == 512 and 2 < facts["chunks"] <= gptq_work.imatrix_tokens(1, mixture=False) / 512

    inputs = {"converted": exact, "imatrix": matrix}
    facts = run_worker("llamacpp", f"{BUILD}:quantize", {"type": "Q4_K_M"}, inputs, small)
    assert facts["tensor_types"]["Q4_K"] > facts["tensor_types"]["Q6_K"] > 0
    assert [path.name for path in small.iterdir()] == ["model.gguf"]
    # The file does not contain the path where it was built.
    assert str(tmp_path).encode() not in (small / "model.gguf").read_bytes()

    for artifact, settings, most in ((exact, {}, 1e-5), (small, {"kv_cache": "q8_0"}, 0.05)):
        inputs = {"model": demo_model, "artifact": artifact, "calibration": calibration}
        args = {"settings": settings}
        facts = run_worker("llamacpp", "llamacppfunctions:compare", args, inputs, tmp_path / "compared")
        kl = facts.pop("kl")
        assert -1e-9 < kl < most
        assert facts == {
            "same_ids": True,
            "text": "Hello, café\n world",
            "shape": [600, 2048],
            "chunks": 2,
            "dtype": "float32",
            "generated": 40,
            "greedy": True,
            "times_rise": True,
            "again": True,
            "stopped": True,
            "together": "3 prompts of 30 to 50 ids, 12 tokens each",
        }

    said = run_worker("llamacpp", "llamacppfunctions:refusals", {}, {"artifact": small}, tmp_path / "said")
    assert said["none"] == "there are no token ids"
    assert "token id -1 is outside" in said["negative"]
    assert "outside the vocabulary of 2048" in said["beyond"]
    with pytest.raises(EdgehoneError, match="kv_cache is 'q3'"):
        run_worker("llamacpp", "llamacppfunctions:unknown_cache", {}, {"artifact": small}, tmp_path / "no")


@pytest.mark.real
def test_gptq_is_closer_to_the_original_at_the_same_size(
    run_worker: RunWorker,
    demo_model: Path,
    calibration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    exact, plain, better = (tmp_path / name for name in ("f16", "q4", "better"))
    ids = {"model": demo_model, "calibration": calibration}
    run_worker("llamacpp", "llamacppfunctions:calibration_ids", {}, ids, tmp_path / "calibrated")
    run_worker("llamacpp", f"{BUILD}:convert", {}, {"model": demo_model}, exact)
    run_worker("llamacpp", f"{BUILD}:quantize", {"type": "Q4_K_M"}, {"converted": exact}, plain)
    ids["calibration"] = tmp_path / "calibrated"
    inputs = {"converted": exact, "quantized": plain, **ids}
    facts = run_worker("llamacpp", f"{GPTQ}:refine", {}, inputs, better)
    assert (facts["refined"], facts["unfed"]) == (28, 0)
    assert facts["bytes"] == (plain / "model.gguf").stat().st_size
    assert [path.name for path in better.iterdir()] == ["model.gguf"]

    kl = []
    for artifact in (plain, better):
        inputs = {"exact": exact, "artifact": artifact, "calibration": calibration}
        kl.append(run_worker("llamacpp", "llamacppfunctions:divergence", {}, inputs, tmp_path / "kl")["kl"])
    assert 0 < kl[1] < 0.8 * kl[0]


@pytest.mark.real
def test_an_invalid_gguf_raises_an_error_with_libllamas_message(
    run_worker: RunWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    with pytest.raises(EdgehoneError, match=r"cannot load .*model\.gguf: \w+"):
        run_worker("llamacpp", "llamacppfunctions:damaged", {}, {}, tmp_path / "no")


@pytest.mark.real
def test_a_failed_conversion_raises_an_error_with_the_converters_message(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "model"
    broken.mkdir()
    for path in demo_model.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    config = json.loads((broken / "config.json").read_text("utf-8"))
    config["architectures"] = ["UnheardOfForCausalLM"]
    (broken / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(EdgehoneError, match="UnheardOfForCausalLM is not supported"):
        run_worker("llamacpp", f"{BUILD}:convert", {}, {"model": broken}, tmp_path / "no")
