"""Checkpoints of GGUF files: what is translated, what is refused, and that they compute what libllama computes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from edgehone.backends.base import Recipe
from edgehone.backends.llamacpp import backend, original
from edgehone.backends.llamacpp.checkpoint_config import architectures, configuration
from edgehone.backends.llamacpp.checkpoint_rotary import llama3_divisors, rotary
from edgehone.core.errors import EdgehoneError, ModelError
from edgehone.formats.gguf import Header, Tensor, type_named
from edgehone.model.info import ModelInfo
from edgehone.optimize.build import SENSITIVITY
from tests.models import GGUF

RunWorker = Callable[..., dict[str, Any]]
BUILD = "edgehone.backends.llamacpp.build"
CHECKPOINT = "edgehone.backends.llamacpp.checkpoint:write"

FILE = replace(GGUF, bytes=1_062_500, dtypes={"Q8_0": 999_000, "F32": 1_000}, layers=4, hidden_size=256)
LOW = replace(FILE, dtypes={"Q6_K": 999_000, "F32": 1_000}, bytes=820_000)


def named(model: ModelInfo) -> dict[str, Recipe]:
    return {one.name: one for one in backend.recipes(model)}


def header(
    stated: Mapping[str, Any] = MappingProxyType({}),
    architecture: str = "llama",
    tensors: tuple[str, ...] = (),
) -> Header:
    sizes = {
        "context_length": 512, "embedding_length": 128, "block_count": 4, "feed_forward_length": 256,
        "attention.head_count": 4, "attention.head_count_kv": 2, "attention.layer_norm_rms_epsilon": 1e-5,
    }  # fmt: skip
    values = {f"{architecture}.{key}": value for key, value in {**sizes, **stated}.items()}
    lengths = {key: len(value) for key, value in values.items() if isinstance(value, list)}
    found = {name: Tensor(type_named("F16"), (128, 2048), 0) for name in ("token_embd.weight", *tensors)}
    return Header(3, {"general.architecture": architecture, **values}, lengths, found)


def test_what_a_file_states_becomes_the_configuration() -> None:
    found = configuration(header({"rope.freq_base": 5e5, "rope.dimension_count": 32}))
    assert (found["model_type"], found["vocab_size"], found["head_dim"]) == ("llama", 2048, 32)
    assert (found["num_key_value_heads"], found["tie_word_embeddings"]) == (2, True)
    assert found["rope_parameters"] == {"rope_type": "default", "rope_theta": 5e5}
    assert configuration(header(tensors=("output.weight",)))["tie_word_embeddings"] is False
    # Layers with a window have a base of their own; no window is stated as 0.
    gemma = configuration(header({"attention.key_length": 64, "attention.sliding_window": 512}, "gemma3"))
    assert gemma["query_pre_attn_scalar"] == gemma["head_dim"] == 64
    assert [one["rope_theta"] for one in gemma["rope_parameters"].values()] == [1e4, 1e4]
    assert configuration(header({"attention.sliding_window": 0}, "phi3"))["sliding_window"] is None


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (header({}, "mamba"), "'mamba' have no checkpoint"),
        (header({"rope.scaling.type": "yarn"}), "states llama.rope.scaling.type"),
        (header({"expert_count": 8}), "states llama.expert_count"),
        (header({"new_list": [1, 2]}), "states llama.new_list"),
        (header({"attention.head_count_kv": [1, 2, 1, 2]}), "attention.head_count_kv is not one number"),
        (header({"rope.dimension_count": 16}), "rope.dimension_count is 16, its heads have 32"),
        (header({"attention.value_length": 64}), "attention.value_length is 64"),
        (header({"block_count": 0}), "does not state its num_hidden_layers"),
        (replace(header(), tensors={}), "no embeddings"),
    ],
)
def test_a_file_that_states_something_else_is_refused_by_name(made: Header, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        configuration(made)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_divisors_of_a_llama_3_are_recognised(factor: float) -> None:
    published = {
        "rope_type": "llama3", "rope_theta": 5e5, "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    divisors = llama3_divisors(published, 128)
    assert min(divisors) == 1 and max(divisors) == factor and 1 < divisors[31] < factor
    assert rotary({"rope.freq_base": 5e5}, None, 128, divisors) == published
    for other in ([2 * one for one in divisors], divisors[:-1], [factor] * 64):
        with pytest.raises(ModelError, match="not that of a Llama 3"):
            rotary({"rope.freq_base": 5e5}, None, 128, other)


def test_gguf_files_have_the_calibrated_recipes_of_checkpoints() -> None:
    found = named(FILE)
    assert {"Q4_0+gptq", "Q3_K_M+gptq", "Q4_K_V+gptq", "mix-3+gptq", "mix-5+gptq"} <= set(found)
    assert found["Q4_0+gptq"].effort == "quick" and found["mix-3+gptq"].effort == "thorough"
    assert {"gptq", "sensitivity", "imatrix"} == found["mix-3+gptq"].operations.keys()
    small = named(replace(FILE, bytes=500_000, dtypes={"Q4_K": 10**6}))  # 4 bits a weight
    assert "mix-3.5+gptq" in small and not {"mix-4+gptq", "mix-5+gptq"} & set(small)


def test_files_of_few_bits_are_lowered_with_gptq() -> None:
    found = named(LOW)
    lowered = found["all-3bit+gptq"]
    assert lowered.calibrated and lowered.build["lower"]["level"] == "3bit" and lowered.effort == "thorough"
    step = backend.steps(lowered)
    assert step.inputs["model"] == backend.CHECKPOINT and step.params == {"head": True}
    assert step.inputs["quantized"] == backend.steps(found["all-3bit+imatrix"])


def test_what_runs_a_file_block_by_block_reads_its_checkpoint() -> None:
    mixed = backend.steps(named(LOW)["mix-3+gptq"])
    assert mixed.inputs["model"] == original.SENSITIVITY.inputs["model"] == backend.CHECKPOINT
    assert "model" not in mixed.reads and SENSITIVITY in mixed.reads
    assert backend.CHECKPOINT.inputs["converted"] == backend.LINK_ORIGINAL


@pytest.mark.parametrize("file", [FILE, LOW])
def test_files_without_a_checkpoint_have_no_such_recipes_and_the_reason_is_told(file: ModelInfo) -> None:
    assert not any("no GPTQ" in reason for reason in backend.supports(file).reasons)
    odd = replace(file, architecture="mamba", model_type="mamba")
    assert not [one for one in named(odd).values() if {"gptq", "mix"} & one.build.keys()]
    assert (
        "no GPTQ and no mixes by sensitivity: files of the architecture 'mamba'"
        in backend.supports(odd).reasons[-1]
    )
    assert not [one for one in named(replace(file, experts=8)).values() if {"gptq", "mix"} & one.build.keys()]


def calibration(folder: Path) -> Path:
    """Ids that are all over the vocabulary of the tiny models, for two windows of 512."""
    folder.mkdir()
    (folder / "ids.json").write_text(json.dumps([3 + 797 * at % 2000 for at in range(1100)]))
    (folder / "bos.json").write_text("[1]")
    return folder


FAMILIES = {"llama": "llama", "gemma3_text": "gemma3"}
MORE = {"qwen2": "qwen2", "qwen3": "qwen3", "phi3": "phi3", "gemma": "gemma", "gemma2": "gemma2"}


@pytest.mark.real
@pytest.mark.parametrize(
    "family", [*FAMILIES, *(pytest.param(family, marks=pytest.mark.long) for family in MORE)]
)
def test_a_checkpoint_computes_what_libllama_computes(
    run_worker: RunWorker, tiny_families: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    run_worker("llamacpp", f"{BUILD}:convert", {}, {"model": tiny_families(family)}, tmp_path / "made")
    run_worker(
        "llamacpp", f"{BUILD}:quantize", {"type": "Q4_0"}, {"converted": tmp_path / "made"}, tmp_path / "four"
    )
    inputs = {"converted": tmp_path / "four", "calibration": calibration(tmp_path / "text")}
    facts = run_worker("llamacpp", CHECKPOINT, {}, inputs, tmp_path / "checkpoint")
    assert 0 < facts["checkpoint_kl"] < 1e-5 and facts["checkpoint_tokens"] == 64
    assert {path.name for path in (tmp_path / "checkpoint").iterdir()} == {"config.json", "model.safetensors"}


def test_every_architecture_of_the_table_is_tried() -> None:
    assert set(architectures()) == {*FAMILIES.values(), *MORE.values()}


@pytest.mark.real
@pytest.mark.long
def test_the_checkpoint_of_a_llama_3_has_its_rotary_positions(
    run_worker: RunWorker, tiny_families: Callable[[str], Path], tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_families("llama"), tmp_path / "llama-3"))
    config = json.loads((model / "config.json").read_text("utf-8"))
    config["rope_parameters"] = {
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    (model / "config.json").write_text(json.dumps(config), "utf-8")
    run_worker("llamacpp", f"{BUILD}:convert", {}, {"model": model}, tmp_path / "made")
    inputs = {"converted": tmp_path / "made", "calibration": calibration(tmp_path / "text")}
    assert run_worker("llamacpp", CHECKPOINT, {}, inputs, tmp_path / "checkpoint")["checkpoint_kl"] < 1e-5
    made = json.loads((tmp_path / "checkpoint" / "config.json").read_text("utf-8"))
    assert made["rope_parameters"] == config["rope_parameters"]


@pytest.mark.real
def test_a_checkpoint_that_computes_something_else_is_refused(
    run_worker: RunWorker,
    tiny_families: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    run_worker("llamacpp", f"{BUILD}:convert", {}, {"model": tiny_families("gemma3_text")}, tmp_path / "made")
    inputs = {"converted": tmp_path / "made", "calibration": calibration(tmp_path / "text")}
    for wrong in ({"norms": 0.9}, {"paired": True}):
        with pytest.raises(EdgehoneError, match=r"does not compute what llama\.cpp computes: they differ by"):
            run_worker(
                "llamacpp", "llamacppfunctions:wrong_checkpoint", wrong, inputs, tmp_path / "checkpoint"
            )
    with pytest.raises(EdgehoneError, match=r"tensor .*norm.* has no place"):
        run_worker(
            "llamacpp",
            "llamacppfunctions:wrong_checkpoint",
            {"model_type": "gemma2"},
            inputs,
            tmp_path / "other",
        )


@pytest.mark.real
@pytest.mark.long
def test_gptq_and_mixes_of_a_quantized_file(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    exact, file, plain = (tmp_path / name for name in ("f16", "file", "plain"))
    inputs = {"model": demo_model}
    run_worker("llamacpp", f"{BUILD}:convert", {}, inputs, exact)
    run_worker("llamacpp", "llamacppfunctions:calibration_ids", {}, inputs, tmp_path / "text")
    run_worker("llamacpp", f"{BUILD}:quantize", {"type": "Q8_0"}, {"converted": exact}, file)
    inputs = {"converted": file, "calibration": tmp_path / "text"}
    run_worker("llamacpp", CHECKPOINT, {}, inputs, tmp_path / "checkpoint")
    args = {"type": "Q3_K_M", "requantize": True}
    run_worker("llamacpp", f"{BUILD}:quantize", args, {"converted": file}, plain)
    inputs |= {"quantized": plain, "model": tmp_path / "checkpoint"}
    facts = run_worker("llamacpp", "edgehone.backends.llamacpp.gptq:refine", {}, inputs, tmp_path / "better")
    assert (facts["refined"], facts["unfed"]) == (28, 0)
    assert facts["bytes"] == (plain / "model.gguf").stat().st_size
    kl = []
    for artifact in (plain, tmp_path / "better"):
        pair = {"exact": file, "artifact": artifact}
        kl.append(run_worker("llamacpp", "llamacppfunctions:divergence", {}, pair, tmp_path / "kl")["kl"])
    assert 0 < kl[1] < 0.8 * kl[0]
