"""Quantized GGUF files quantized again: which recipes are proposed, and that all other tensors stay bit for bit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.backends.base import Recipe
from edgehone.backends.llamacpp import backend, lowered, recipes
from edgehone.formats.gguf import Header, Tensor, read_header, type_named
from edgehone.model.info import LargeTensor, ModelInfo

RunWorker = Callable[..., dict[str, Any]]

# Gemma 3 270M in Q4_K_M from a hub: its embedding in Q8_0 is two thirds of the file; rows of 640 fit no K-quant.
EMBEDDING = LargeTensor("token_embd.weight", "Q8_0", 167_772_160, 640, 178_257_920)
GEMMA = ModelInfo(
    path=Path("gemma.gguf"),
    format="gguf",
    architecture="gemma3",
    model_type="gemma3",
    task="text-generation",
    parameters=268_098_176,
    bytes=253_000_000,
    dtypes={"F32": 100_000, "Q5_0": 60_000_000, "Q8_0": 190_000_000, "Q4_K": 18_000_000},
    files=("gemma.gguf",),
    hidden_size=640,
    quantized="Q8_0",
    large_tensors=(EMBEDDING,),
)


def named(model: ModelInfo) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in backend.recipes(model)}


def test_a_large_embedding_is_lowered_alone() -> None:
    found = named(GEMMA)
    assert {"as-is", "token_embd-q5_1", "token_embd-q5_0", "token_embd-q4_0"} <= set(found)
    assert not {"token_embd-q6_K", "token_embd-q5_K"} & set(found)  # rows of 640
    recipe = found["token_embd-q5_0"]
    assert recipe.effort == "quick" and "saves 25% of the file" in recipe.why
    assert found["token_embd-q5_1"].effort == "normal"  # quick tries one type of a tensor
    assert recipe.bits == pytest.approx(8 * (253e6 - 167_772_160 * 3 / 8) / GEMMA.parameters, rel=1e-3)
    step = backend.steps(recipe)
    assert (
        step.params["lower"]["tensor"] == "token_embd.weight"
        and step.inputs["converted"] == backend.LINK_ORIGINAL
    )


def test_the_whole_file_is_lowered_where_that_saves_something() -> None:
    found = named(GEMMA)
    assert {"all-6bit", "all-5bit", "all-4bit", "all-4bit+imatrix"} <= set(found)
    assert "tensors in Q5_0, Q8_0 to 4.5 bits" in found["all-4bit"].why
    assert "all-3bit" not in found and len(found) == len(
        backend.recipes(GEMMA)
    )  # no type of 3 bits has blocks of 32
    small = named(
        replace(
            GEMMA,
            dtypes={"F32": 9, "Q4_K": 268_000_000},
            large_tensors=(),
            bytes=151_000_000,
            hidden_size=512,
        )
    )
    assert set(small) == {"as-is", "all-3bit", "all-3bit+imatrix"}


def test_the_same_bytes_without_an_importance_matrix_wait_for_more_effort() -> None:
    found = named(GEMMA)
    assert (found["all-4bit+imatrix"].effort, found["all-4bit"].effort) == ("quick", "normal")
    assert found["all-6bit"].effort == "normal"  # it has no counterpart with one


def test_types_that_need_an_importance_matrix_make_every_recipe_calibrated() -> None:
    found = named(replace(GEMMA, dtypes={**GEMMA.dtypes, "IQ3_XXS": 9}))
    assert all(recipe.calibrated for recipe in found.values() if not recipe.exact)


def header(**tensors: tuple[str, tuple[int, ...]]) -> Header:
    found = {
        f"{name.replace('__', '.')}.weight": Tensor(type_named(kind), dims, 0)
        for name, (kind, dims) in tensors.items()
    }
    return Header(3, {"general.file_type": 15}, {}, found)


FILE = header(
    token_embd=("Q8_0", (640, 100)),
    output=("Q6_K", (512, 100)),
    blk__0__attn_q=("Q4_K", (512, 512)),
    blk__0__ffn_down=("F16", (100, 512)),
    blk__0__attn_norm=("F32", (512,)),
)
LEVELS = {level["level"]: level for level in recipes._table("lower")}


def types_of(options: list[str]) -> dict[str, str]:
    assert set(options[::2]) <= {"--tensor-type"}
    found = {}
    for word in options[1::2]:
        pattern, _, kind = word.rpartition("=")
        [name] = [name for name in FILE.tensors if re.search(pattern, name)]
        found[name] = kind
    return found


def test_every_tensor_is_given_its_own_type_or_a_lower_one() -> None:
    assert types_of(lowered.options(FILE, LEVELS["5bit"])) == {
        "token_embd.weight": "q5_0",
        "output.weight": "q5_K",
        "blk.0.attn_q.weight": "Q4_K",
        "blk.0.ffn_down.weight": "F16",  # rows of 100 fit no block
    }
    one = types_of(lowered.options(FILE, {**LEVELS["4bit"], "tensor": "output.weight"}))
    assert one["output.weight"] == "q4_K" and one["token_embd.weight"] == "Q8_0"
    assert lowered.stated_type(FILE) == "Q4_K_M"
    assert lowered.stated_type(replace(FILE, values={"general.file_type": 1})) == "Q8_0"


def test_nothing_to_lower_gives_no_options() -> None:
    assert lowered.options(FILE, {**LEVELS["6bit"], "tensor": "blk.0.attn_q.weight"}) == []


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]), st.sampled_from(["Q8_0", "Q6_K", "Q4_0", "Q2_K", "BF16"])
    )
)
def test_no_tensor_gets_more_bits(kinds: dict[str, str]) -> None:
    file = header(**{name: (kind, (512, 4)) for name, kind in kinds.items()})
    for level in LEVELS.values():
        for word in lowered.options(file, level)[1::2]:
            pattern, _, kind = word.rpartition("=")
            [own] = [tensor for name, tensor in file.tensors.items() if re.search(pattern, name)]
            new = next(one["bits"] for one in level["types"] if one["type"] == kind) if kind[0] == "q" else 0
            assert new < lowered.bits_of(own)


def raw(path: Path) -> dict[str, tuple[str, bytes]]:
    """Type and bytes of every tensor, by llama.cpp's own package."""
    from gguf import GGUFReader

    return {
        tensor.name: (tensor.tensor_type.name, tensor.data.tobytes()) for tensor in GGUFReader(path).tensors
    }


@pytest.mark.real
def test_a_real_file_keeps_all_other_tensors_bit_for_bit(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path
) -> None:
    build = "edgehone.backends.llamacpp.build"
    run_worker("llamacpp", f"{build}:convert", {}, {"model": demo_model}, tmp_path / "made")
    run_worker(
        "llamacpp",
        f"{build}:quantize",
        {"type": "Q4_K_M"},
        {"converted": tmp_path / "made"},
        tmp_path / "four",
    )
    before = raw(tmp_path / "four" / "model.gguf")
    args = {"requantize": True, "lower": {**LEVELS["4bit"], "tensor": "token_embd.weight"}}
    facts = run_worker(
        "llamacpp", f"{build}:quantize", args, {"converted": tmp_path / "four"}, tmp_path / "one"
    )
    after = raw(tmp_path / "one" / "model.gguf")
    assert {name for name in before if before[name] != after[name]} == {"token_embd.weight"}
    assert (
        after["token_embd.weight"][0] == "Q4_K"
        and facts["bytes"] < (tmp_path / "four/model.gguf").stat().st_size
    )
    args = {"requantize": True, "lower": LEVELS["3bit"]}
    run_worker("llamacpp", f"{build}:quantize", args, {"converted": tmp_path / "four"}, tmp_path / "all")
    assert {kind for kind, _ in raw(tmp_path / "all" / "model.gguf").values()} == {"F32", "Q3_K"}
    args = {"requantize": True, "lower": LEVELS["6bit"]}
    facts = run_worker(
        "llamacpp", f"{build}:quantize", args, {"converted": tmp_path / "all"}, tmp_path / "none"
    )
    assert "nothing_to_gain" in facts and read_header(tmp_path / "all" / "model.gguf").types
