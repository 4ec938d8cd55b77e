"""The openvino backend: supported models, recipes, build steps, and the real toolchain on the demo model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.openvino import backend, build, session
from edgehone.backends.pytorch import backend as pytorch
from edgehone.backends.pytorch import supported
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError, TextError
from edgehone.inputs.texts import shipped
from tests.models import LLAMA, recipes_up_to

RunWorker = Callable[..., dict[str, Any]]
BUILD = "edgehone.backends.openvino.build"
SCORE = "edgehone.worker.score"
at_effort = partial(recipes_up_to, backend)


def test_a_llama_is_supported_without_notes() -> None:
    support = backend.supports(LLAMA)
    assert support.ok and support.reasons == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "unheard_of"}, "unheard_of"),
        ({"model_type": "mamba"}, "mamba"),
        ({"remote_code": True}, "custom code"),
        ({"format": "null"}, "null"),
        ({"task": "image-text-to-text"}, "only gemma3, llava are supported, not 'llama'"),
        ({"quantized": "gptq"}, "gptq"),
    ],
)
def test_an_unsupported_model_is_refused_with_the_offending_value(
    change: dict[str, Any], reason: str
) -> None:
    support = backend.supports(replace(LLAMA, **change))
    assert not support.ok
    assert reason in " ".join(support.reasons)


def test_the_original_of_every_exported_architecture_can_be_run() -> None:
    assert backend.architectures() <= supported.architectures()


def test_the_exact_recipe_comes_first_and_names_are_unique() -> None:
    recipes = backend.recipes(LLAMA)
    assert recipes[0].exact and [recipe.exact for recipe in recipes].count(True) == 1
    assert recipes[0].settings == {"kv_cache": "f16", "inference_precision": "f32"}
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert len({json.dumps(recipe.to_json() | {"name": ""}) for recipe in recipes}) == len(recipes)
    assert all(recipe.why and "kv_cache" in recipe.settings for recipe in recipes)


def test_higher_effort_tries_more_recipes() -> None:
    quick = {recipe.name for recipe in at_effort("quick")}
    assert quick == {"fp16", "int8", "int4_sym_g128", "int4_sym_g64+gptq"}
    assert len(at_effort("quick")) < len(at_effort("normal")) == 14 < len(at_effort("thorough"))


def test_calibrated_recipes_read_the_calibration_text_and_share_the_export() -> None:
    exports = set()
    for recipe in backend.recipes(LLAMA):
        step = backend.steps(recipe)
        if recipe.exact:
            exports.add(json.dumps([step.call, dict(step.params), step.reads]))
            continue
        assert step.call == f"{BUILD}:compress"
        assert ("calibration" in step.reads) == recipe.calibrated
        assert recipe.calibrated == any(recipe.build.get(name) for name in build.CALIBRATED_OPTIONS)
        assert not (recipe.build.get("gptq") and recipe.build.get("lora_correction"))
        below = step.inputs["fp16"]
        exports.add(json.dumps([below.call, dict(below.params), below.reads]))
    assert len(exports) == 1


def test_recipes_that_differ_in_runtime_settings_share_their_build() -> None:
    by_name = {recipe.name: recipe for recipe in backend.recipes(LLAMA)}
    assert backend.steps(by_name["int8"]) == backend.steps(by_name["int8+kv_f16"])
    assert by_name["int8"].settings != by_name["int8+kv_f16"].settings


def test_groups_that_do_not_divide_the_rows_pass_their_effort_to_the_next_of_the_family() -> None:
    odd = replace(LLAMA, hidden_size=320, intermediate_size=864, heads=5)  # 864 = 27 * 32
    names = {recipe.name for recipe in backend.recipes(odd)}
    assert not any("g128" in name or "g64" in name for name in names)
    assert {"int4_sym_g32", "int4_sym_g32+gptq"} <= {recipe.name for recipe in at_effort("quick", odd)}
    reasons = backend.supports(odd).reasons
    assert len(reasons) == 2 and "864 (intermediate)" in reasons[0]


def test_gptq_is_not_offered_for_experts_with_weights_of_rank_3() -> None:
    recipes = backend.recipes(replace(LLAMA, experts=8))
    assert recipes and not any(recipe.build.get("gptq") for recipe in recipes)


def test_only_ungrouped_recipes_remain_if_no_group_fits() -> None:
    odd = replace(LLAMA, hidden_size=100)
    assert {recipe.build["mode"] for recipe in backend.recipes(odd)} == {"fp16", "int8_asym", "int8_sym"}


def test_properties_always_set_the_kv_cache_precision() -> None:
    properties = session.properties({}, 3)
    assert properties["KV_CACHE_PRECISION"] == "u8" and properties["INFERENCE_NUM_THREADS"] == 3
    assert "INFERENCE_PRECISION_HINT" not in properties
    properties = session.properties({"kv_cache": "f16", "inference_precision": "f32"}, 1)
    assert (properties["KV_CACHE_PRECISION"], properties["INFERENCE_PRECISION_HINT"]) == ("f16", "f32")


class Port:
    """A model's input."""

    def __init__(self, name: str) -> None:
        self.name = name

    def get_any_name(self) -> str:
        return self.name


class Model:
    """A model with inputs of these names."""

    def __init__(self, *names: str) -> None:
        self.inputs = [Port(name) for name in names]


def calibration_job(folder: Path, tokens: int) -> WorkerJob:
    (folder / "ids.json").write_text(json.dumps(list(range(10, 10 + tokens))))
    (folder / "bos.json").write_text("[1]")
    return WorkerJob({}, {"calibration": folder}, folder, None, 1, lambda fraction, what: None)


@pytest.mark.parametrize(
    ("tokens", "context", "count", "length"),
    [(40_000, 4096, 64, 256), (600, 4096, 4, 128), (40_000, 64, 64, 64)],
)
def test_calibration_windows_have_the_expected_number_and_length(
    tmp_path: Path, tokens: int, context: int, count: int, length: int
) -> None:
    model = Model("input_ids", "attention_mask", "beam_idx")
    samples = build.calibration_samples(calibration_job(tmp_path, tokens), model, context)
    assert len(samples) == count
    assert set(samples[0]) == {"input_ids", "attention_mask", "beam_idx"}
    for sample in samples:
        assert sample["input_ids"].shape == sample["attention_mask"].shape == (1, length)
        assert sample["input_ids"][0, 0] == 1
    # The windows are spread over the whole text.
    assert samples[-1]["input_ids"][0, -1] > 10 + tokens * 0.9


def test_a_calibration_text_that_is_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="40 tokens"):
        build.calibration_samples(calibration_job(tmp_path, 40), Model("input_ids"), 4096)


@pytest.mark.real
def test_the_demo_model_is_exported_compressed_scored_and_run(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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

    fp16 = tmp_path / "fp16"
    facts = run_worker("openvino", f"{BUILD}:export", {}, {"model": demo_model}, fp16)
    assert set(facts["weight_types"]) == {"f16"}
    assert facts["bytes"] == sum(path.stat().st_size for path in fp16.iterdir())

    # Mean KL divergence measured on the model that ships: 1.5e-7 and 1.3e-2.
    for name, most in (("fp16", 1e-5), ("int4_sym_g64+gptq", 2e-2)):
        recipe = next(recipe for recipe in backend.recipes(LLAMA) if recipe.name == name)
        artifact = tmp_path / name
        if not recipe.exact:
            step = backend.steps(recipe)
            inputs = {
                "fp16": fp16,
                **({"calibration": prepared / "calibration"} if recipe.calibrated else {}),
            }
            facts = run_worker("openvino", step.call, dict(step.params), inputs, artifact)
            assert set(facts["weight_types"]) == {"i4", "u8"}
        args = {"backend": backend.__name__, "settings": dict(recipe.settings), "tokenize": True}
        inputs = {"artifact": artifact, "prepared": prepared, "reference": reference}
        run_worker("openvino", f"{SCORE}:score", args, inputs, tmp_path / "scored")
        assert json.loads((tmp_path / "scored" / "token_ids.json").read_text("utf-8")) == sample
        assert np.load(tmp_path / "scored" / "tokens.npz")["kl"].mean() < most

        args = {"ids": [1, *range(300, 330)], "settings": dict(recipe.settings)}
        facts = run_worker(
            "openvino",
            "openvinofunctions:probe",
            args,
            {"artifact": artifact},
            tmp_path / "run",
            cold=recipe.exact,
        )
        assert facts["alone"] and (not recipe.exact or not facts["torch"])
        assert facts["chunks"] == [8, 8, 8, 7] and facts["dtype"] == "float32"
        assert facts["repeatable"] and facts["ordered"] and facts["times"] == 12
        assert facts["stopped"] == facts["ids"][: facts["ids"].index(facts["ids"][3]) + 1]
        assert facts["together"] == "3 prompts of 15 to 31 ids, 12 tokens each"
        assert facts["text"] == "Hello, café\n world"
        assert recipe.settings["kv_cache"] in facts["kv_cache"]
        if recipe.exact:
            assert facts["ids"] == facts["argmax"]
            # The code path for other devices, with the CPU as the device.
            args["settings"] = {**recipe.settings, "device": "HETERO:CPU"}
            hetero = run_worker(
                "openvino", "openvinofunctions:probe", args, {"artifact": artifact}, tmp_path / "hetero"
            )
            assert hetero["ids"] == facts["ids"] == hetero["argmax"]
            cache = {"artifact": artifact}
            told = run_worker("openvino", "openvinofunctions:fill_the_cache", {}, cache, tmp_path / "cache")
            assert told["full"]["ended"] == told["more"]["ended"] == [[64, "length"]] * 4
            # Within the cache each step reads 256 tokens or gives one of each answer. Beyond it the framework drops
            # what it has of a request, and reads it again.
            assert told["full"]["steps"] <= 4 * (256 - 64) / 256 + 64 + 4
            assert told["more"]["steps"] > 1.5 * told["full"]["steps"]
            assert told["too long"] == [["error", "the request does not fit into the KV cache"]]
            told = run_worker(
                "openvino", "openvinofunctions:draft_in_the_engine", {}, cache, tmp_path / "drafts"
            )
            _drafts_give_the_plain_answers(told["plain"], told["drafted"])


def _drafts_give_the_plain_answers(plain: dict[str, Any], drafted: dict[str, Any]) -> None:
    assert drafted["greedy"] == plain["greedy"] and drafted["steps"] < plain["steps"]
    assert drafted["one"][0] == [plain["greedy"][:1]] and drafted["one"][1] == [["length", 1]]
    assert drafted["ended"][0] == [plain["greedy"][: plain["ends"]]] and drafted["ended"][1][0][0] == "stop"
    assert drafted["together"] == plain["together"] and drafted["together"][1][1] == ["length", 25]
    assert drafted["drawn"][0] == drafted["drawn"][1] and len(drafted["drawn"][0][0]) == 20
    assert drafted["after"] == [plain["greedy"]]


@pytest.mark.real
def test_a_model_that_cannot_be_exported_fails_with_the_cause(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for path in demo_model.iterdir():
        if path.suffix != ".safetensors":
            (model / path.name).write_bytes(path.read_bytes())
    with pytest.raises(EdgehoneError, match="no file named"):
        run_worker("openvino", f"{BUILD}:export", {}, {"model": model}, tmp_path / "out")
