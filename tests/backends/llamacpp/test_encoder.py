"""Encoders in llama.cpp: recipes, and hidden states compared with transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.llamacpp import backend
from edgehone.model.info import ModelInfo

RunWorker = Callable[..., dict[str, Any]]
BUILD = "edgehone.backends.llamacpp.build"
ENCODER_BUILD = "edgehone.backends.llamacpp.build"

BERT = ModelInfo(
    path=Path("model"),
    format="huggingface",
    architecture="BertModel",
    model_type="bert",
    task="feature-extraction",
    parameters=1_000_000,
    bytes=4_000_000,
    dtypes={"F32": 1_000_000},
    files=("config.json",),
    hidden_size=256,
    tokenizer="wordpiece",
)


def test_an_encoder_is_supported() -> None:
    support = backend.supports(BERT)
    assert support.ok and "hidden states" in support.reasons[0]


def test_encoder_recipes_start_with_f32_and_are_not_calibrated() -> None:
    made = backend.recipes(BERT)
    assert [each.name for each in made if each.exact] == [made[0].name] == ["F32"]
    assert {"F16", "Q8_0", "Q6_K", "Q4_K_M"} <= {each.name for each in made}
    assert not [each for each in made if each.calibrated]
    assert all(each.settings == {"positions": "bert"} for each in made)
    assert len({each.key for each in made}) == len(made)
    assert len([each for each in made if each.effort == "quick"]) <= 5


def test_all_encoder_recipes_share_one_conversion() -> None:
    exact, *rest = (backend.steps(each) for each in backend.recipes(BERT))
    assert exact.call == f"{ENCODER_BUILD}:convert"
    assert exact.params == {"outtype": "f32"}
    assert all(step.inputs == {"converted": exact} for step in rest)


@pytest.mark.real
@pytest.mark.parametrize(
    ("model_type", "config"),
    [
        (
            "bert",
            {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256},
        ),
        ("distilbert", {"dim": 256, "n_layers": 2, "n_heads": 4, "hidden_dim": 256}),
    ],
)
def test_hidden_states_match_transformers(
    run_worker: RunWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model_type: str,
    config: dict[str, Any],
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    model, exact, small = tmp_path / "model", tmp_path / "exact", tmp_path / "small"
    args: dict[str, Any] = {"model_type": model_type, "config": {**config, "max_position_embeddings": 64}}
    run_worker("llamacpp", "llamacppfunctions:make_encoder", args, {}, model)
    args = {"outtype": "f32"}
    facts = run_worker("llamacpp", f"{ENCODER_BUILD}:convert", args, {"model": model}, exact)
    assert set(facts["tensor_types"]) == {"F32"}
    facts = run_worker("llamacpp", f"{BUILD}:quantize", {"type": "Q8_0"}, {"converted": exact}, small)
    assert facts["tensor_types"]["Q8_0"] > 0
    # libllama's GELU is a 16-bit table, which causes a difference of about 4e-4.
    for artifact, least, most in ((exact, 0.0, 2e-3), (small, 2e-3, 0.05)):
        inputs = {"model": model, "artifact": artifact}
        facts = run_worker("llamacpp", "llamacppfunctions:encode", {}, inputs, tmp_path / "encoded")
        assert facts["shape"] == [3, 40, 256] and facts["dtype"] == "float32"
        assert least < facts["error"] < most
        assert facts["padding"] == 0
    said = facts["said"]
    assert "token_type_ids are not all 0" in said["types"]
    assert "outside the vocabulary" in said["ids"]
    assert "[batch, length]" in said["mask"]
    assert "exceeds the model's 64 positions" in said["long"]
    assert "pixel_values" in said["others"]
