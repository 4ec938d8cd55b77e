"""Drafted tokens: the answer is that of plain greedy generation, in fewer passes over the weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.backends.llamacpp import engine, recipes, speculation
from edgehone.backends.llamacpp.backend import steps
from edgehone.core.errors import EdgehoneError, JobError
from tests.models import LLAMA
from tests.realruns import RunWorker

BUILD = "edgehone.backends.llamacpp.build"


def test_a_number_of_tokens_is_wanted() -> None:
    assert speculation.setting({"draft": 3}, "draft") == 3
    assert speculation.setting({}, "draft") == 0
    for bad in (-1, 65, "3", True, 2.5):
        with pytest.raises(JobError, match="draft is"):
            speculation.setting({"draft": bad}, "draft")


def test_the_recipe_builds_both_models() -> None:
    found = next(one for one in recipes.checkpoint_recipes(LLAMA) if "draft" in one.build)
    assert found.name == "Q8_0+draft_Q4_0" and found.settings == {"draft": 3} and found.effort == "thorough"
    step = steps(found)
    assert step.call == f"{BUILD}:with_draft"
    assert [one.params["type"] for one in step.inputs.values()] == ["Q8_0", "Q4_0"]
    assert step.inputs["model"].inputs["converted"] == step.inputs["draft"].inputs["converted"]


def test_the_server_drafts_as_the_session_does() -> None:
    words = engine.command_line(Path("server"), Path("a/model.gguf"), {"draft": 3}, 2, 1, 512)
    assert words[words.index("--model-draft") + 1] == "a/draft.gguf"
    assert words[words.index("--spec-draft-n-max") + 1] == "3"
    words = engine.command_line(Path("server"), Path("a/model.gguf"), {"prompt_lookup": 8}, 2, 1, 512)
    assert words[words.index("--spec-type") + 1] == "ngram-simple" and "--model-draft" not in words


@pytest.mark.real
def test_the_tokens_are_those_of_plain_generation(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    exact, small, both = (tmp_path / name for name in ("f16", "small", "both"))
    run_worker("llamacpp", f"{BUILD}:convert", {}, {"model": demo_model}, exact)
    run_worker("llamacpp", f"{BUILD}:quantize", {"type": "Q4_0"}, {"converted": exact}, small)
    facts = run_worker("llamacpp", f"{BUILD}:with_draft", {}, {"model": exact, "draft": small}, both)
    assert facts["bytes"] == sum(path.stat().st_size for path in both.iterdir())
    found = run_worker("llamacpp", "llamacppfunctions:drafted", {}, {"artifact": both}, tmp_path / "drafted")
    for name, one in found.items():
        assert one["same"] and one["again"] and one["stopped"] and one["one"], name
        assert one["passes"] < one["tokens"], name


@pytest.mark.real
def test_a_draft_that_is_missing_is_an_error(
    run_worker: RunWorker, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    exact = tmp_path / "f16"
    run_worker("llamacpp", f"{BUILD}:convert", {}, {"model": demo_model}, exact)
    with pytest.raises(EdgehoneError, match=r"cannot load .*draft\.gguf"):
        run_worker("llamacpp", "llamacppfunctions:drafted", {}, {"artifact": exact}, tmp_path / "no")
