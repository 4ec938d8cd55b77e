"""GGUF files as originals: support, recipes, and a real file in libllama."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.backends.llamacpp import backend, original
from edgehone.backends.llamacpp.vocabulary import spans
from edgehone.core.errors import EdgehoneError
from edgehone.execution.environments import environment
from edgehone.model import gguf
from edgehone.model.info import ModelInfo
from edgehone.plan.plan import plan
from tests.ggufparts import split, tensors
from tests.models import GGUF

RunWorker = Callable[..., dict[str, Any]]


def of(**dtypes: int) -> ModelInfo:
    return replace(GGUF, dtypes=dtypes)


def names(model: ModelInfo) -> set[str]:
    return {recipe.name for recipe in backend.recipes(model)}


def test_a_float_file_is_supported_with_a_note_on_the_reference() -> None:
    support = original.supports(GGUF)
    assert support.ok and support.reasons == ("quality is measured against the GGUF file",)


def test_a_quantized_file_is_supported_with_a_note() -> None:
    support = original.supports(of(Q4_K=9, Q6_K=1, F32=1))
    assert support.ok and "already quantized (Q4_K, Q6_K)" in support.reasons[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "huggingface"}, "the format 'huggingface'"),
        ({"task": "feature-extraction"}, "feature-extraction"),
    ],
)
def test_unsupported_models_are_refused(change: dict[str, Any], reason: str) -> None:
    support = original.supports(replace(GGUF, **change))
    assert not support.ok and reason in support.reasons[0]


def test_reference_and_baseline_use_the_same_file() -> None:
    assert (
        original.steps(original.reference(GGUF))
        == original.steps(original.original(GGUF))
        == backend.LINK_ORIGINAL
    )
    assert original.steps(original.original(GGUF)).links


def test_candidates_have_fewer_bits_than_the_file() -> None:
    made = backend.recipes(GGUF)
    assert [each.name for each in made if each.exact] == [made[0].name] == ["as-is"]
    assert {"Q8_0", "Q4_K_M", "Q4_K_M+imatrix"} <= names(GGUF) and "F16" not in names(GGUF)
    assert "F16" in names(of(F32=9))
    eight = backend.recipes(of(Q8_0=9, F32=1))
    assert "Q8_0" not in {each.name for each in eight}
    assert all(each.build["requantize"] for each in eight if not each.exact)
    assert not [each for each in made if each.build.get("requantize")]


def test_a_file_with_few_bits_is_told_to_be_quantized() -> None:
    small = of(Q4_K=9, F32=1)
    assert "as-is" in names(small) and not names(small) & {"Q4_0", "Q4_K_M", "F16", "all-4bit", "all-6bit"}
    assert "already quantized (Q4_K)" in backend.supports(small).reasons[0]


def test_the_first_step_links_the_file() -> None:
    step = backend.steps(next(each for each in backend.recipes(GGUF) if each.name == "Q4_0+imatrix"))
    assert step.inputs["converted"] == step.inputs["imatrix"].inputs["converted"] == backend.LINK_ORIGINAL


def test_the_gguf_backend_offers_no_candidates() -> None:
    made = plan(GGUF, {"gguf": original, "llamacpp": backend}, "quick", baseline=original.original(GGUF).key)
    assert made.backends == ["llamacpp"] and "gguf" in made.refused


def test_gguf_shares_the_environment_of_llamacpp(own_home: Path) -> None:
    assert original.NEEDS.environment == "llamacpp" and original.NEEDS.lock == backend.NEEDS.lock
    (own_home / "envs").mkdir(parents=True)
    assert environment.state("gguf", original.NEEDS) == environment.state("llamacpp", backend.NEEDS)


def test_gguf_shares_the_interpreter_override_of_llamacpp(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEHONE_PYTHON_LLAMACPP", str(tmp_path / "none"))
    assert "EDGEHONE_PYTHON_LLAMACPP" in environment.state("gguf", original.NEEDS).reason


def test_a_leading_space_covers_no_bytes() -> None:
    assert spans(b"a b", [b" a", b" b"]) == [1, 2]
    assert spans(b"a b", [b"", b" a", b" b"]) == [0, 1, 2]
    assert spans(b"abcd", [b"x", b"x"]) == [2, 2]
    assert spans(b"", []) == []


@given(st.lists(st.binary(max_size=5), min_size=1), st.booleans())
def test_spans_are_exact_if_the_pieces_join_to_the_text(pieces: list[bytes], spaced: bool) -> None:
    text = b"".join(pieces)
    assert spans(text, pieces) == [len(piece) for piece in pieces]
    if spaced:
        assert sum(spans(text, [b" ", *pieces])) == len(text)


@given(st.binary(max_size=40), st.lists(st.binary(min_size=1, max_size=5), min_size=1))
def test_spans_always_sum_to_the_length_of_the_text(text: bytes, pieces: list[bytes]) -> None:
    sizes = spans(text, pieces)
    assert sum(sizes) == len(text) and all(size >= 0 for size in sizes)


@pytest.mark.real
def test_a_real_file_is_linked_tokenized_and_requantized(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    build = "edgehone.backends.llamacpp.build"
    made, eight, four = tmp_path / "made", tmp_path / "eight", tmp_path / "four"
    model = Path(shutil.copytree(demo_model, tmp_path / "model"))
    (model / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    run_worker("llamacpp", f"{build}:convert", {}, {"model": model}, made)
    file = made / "model.gguf"

    facts = run_worker("gguf", f"{build}:link_original", {}, {"model": file}, tmp_path / "adopted")
    assert set(facts["tensor_types"]) == {"F16", "F32"} and facts["bytes"] == file.stat().st_size

    (tmp_path / "parts").mkdir()
    first = split(file, tmp_path / "parts", 16)
    assert (
        gguf.read(first).parameters == gguf.read(file).parameters and original.supports(gguf.read(first)).ok
    )
    joined = run_worker("gguf", f"{build}:link_original", {}, {"model": first}, tmp_path / "joined")
    assert joined["tensor_types"] == facts["tensor_types"]
    whole = tmp_path / "joined" / "model.gguf"
    assert not whole.is_symlink() and tensors(whole) == tensors(file)

    facts = run_worker(
        "gguf", "llamacppfunctions:vocabulary", {}, {"model": file, "original": demo_model}, tmp_path / "v"
    )
    assert facts == {
        "same_ids": True,
        "bos": [1],
        "eos": [2],
        "vocabulary": 2048,
        "sizes": True,
        "special": {"bos_token": "<s>", "eos_token": "</s>"},
        "template": "{{ bos_token }}{{ messages[0].content }}",
    }

    run_worker("llamacpp", f"{build}:quantize", {"type": "Q8_0"}, {"converted": made}, eight)
    args = {"type": "Q4_K_M", "requantize": True}
    facts = run_worker("llamacpp", f"{build}:quantize", args, {"converted": eight}, four)
    assert facts["tensor_types"]["Q4_K"] > 0 and facts["bytes"] < (eight / "model.gguf").stat().st_size


@pytest.mark.real
def test_a_damaged_file_raises_an_error_with_libllamas_message(
    run_worker: RunWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(64))
    inputs = {"model": file, "original": file}
    with pytest.raises(EdgehoneError, match=r"cannot read the vocabulary of .*model\.gguf: \w+"):
        run_worker("gguf", "llamacppfunctions:vocabulary", {}, inputs, tmp_path / "v")
