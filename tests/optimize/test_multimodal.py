"""A model that sees, from end to end: two backends take it, prove it on pictures, and run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import edgehone
from edgehone.backends.llamacpp import backend as llamacpp
from edgehone.backends.llamacpp import vision_build as build
from edgehone.backends.openvino import backend as openvino
from edgehone.core.errors import (
    InputError,
    JobError,
    TextError,
)
from edgehone.inference.run_bundle import generate
from tests.recipes import only
from tests.serve.pictures import GATES, TEMPLATE, TOML, answers_are_those_of_run


@pytest.fixture
def llava(make_example: Callable[..., Path]) -> Path:
    return make_example("make_tiny_multimodal.py", "tiny-llava", "--vision", "siglip")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TOML)
    return path


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_it_is_proven_on_pictures_chosen_and_run(
    llava: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, llamacpp, "F16", "Q4_0")
    only(monkeypatch, openvino, "fp16", "int4_sym_g128")
    out = tmp_path / "bundle"
    decision = edgehone.optimize(
        llava,
        workload="tiny",
        effort="quick",
        backends=["llamacpp", "openvino", "olive", "mlx"],
        gates=GATES,
        out=out,
        config_file=config,
    )
    proven = {one.backend: one for one in decision.conversions}
    assert proven["llamacpp"].passed, proven["llamacpp"].reason
    assert proven["openvino"].passed, proven["openvino"].reason
    assert all("with pictures it diverges by" in one.reason for one in proven.values())
    assert any(note.startswith("olive is not in the plan") for note in decision.notes)
    assert any(note.startswith("mlx is not in the plan") for note in decision.notes)
    by_key = {c.key: c for c in decision.candidates}
    assert all(c.status == "ok" for c in by_key.values()), {k: c.error for k, c in by_key.items()}
    for exact, coarse in (("llamacpp/F16", "llamacpp/Q4_0"), ("openvino/fp16", "openvino/int4_sym_g128")):
        kl = by_key[exact].figure("vision_kl_mean").value, by_key[coarse].figure("vision_kl_mean").value
        assert kl[0] is not None
        assert kl[1] is not None
        assert kl[0] < 1e-3 < kl[1]
        first = by_key[exact].figure("image_ttft_ms").value
        assert first is not None
        assert first > 0
        asked = by_key[exact]
        assert (asked.figure("workload_latency_ms").value or 0) > (asked.figure("ttft_ms").value or 0) > 0
        assert "positions that a picture takes" in str(asked.figure("prefill_tokens_per_s").reason)

    bundle = edgehone.read(out)
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        generate(bundle, "What is this?", 5, picture=tmp_path / "no.png", quiet=True)
    with pytest.raises(InputError, match="no such picture"):
        generate(bundle, "What is this?", 5, picture=tmp_path / "nowhere.png", quiet=True)
    answers_are_those_of_run(out, tmp_path, [TEMPLATE])  # tests/serve/test_pictures.py asks without one, too


def test_pictures_for_a_model_that_sees_none_are_refused(
    null_model: Path, tmp_path: Path, own_home: Path
) -> None:
    with pytest.raises(InputError, match="is not a vision-language model"):
        edgehone.optimize(null_model, backends=["null"], pictures=tmp_path)


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_a_backend_that_sees_otherwise_is_out(
    config: Path, make_example: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """libmtmd puts CLIP's own token behind the patches, where it then looks for it before them."""
    only(monkeypatch, llamacpp, "F16", "Q4_0")
    model = make_example("make_tiny_multimodal.py", "clip", "--vision", "clip")
    decision = edgehone.optimize(
        model, workload="tiny", effort="quick", backends=["llamacpp"], gates=GATES, config_file=config
    )
    assert decision.chosen == decision.baseline.key
    [conversion] = decision.conversions
    assert not conversion.passed
    assert conversion.kl_mean.value is not None
    assert conversion.kl_mean.value < 1e-4  # its text is the original's
    assert "with pictures it diverges by" in conversion.reason


@pytest.mark.real
def test_pictures_that_cannot_be_used_are_told_before_anything_slow(llava: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        edgehone.optimize(llava, pictures=tmp_path / "nowhere")
    lines = tmp_path / "asked.jsonl"
    lines.write_text('{"image": "cat.png", "text": "What?"}')
    with pytest.raises(TextError, match="does not exist"):
        edgehone.optimize(llava, pictures=lines)


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("language_model.model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ("model.language_model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ("model.language_model.model.norm.weight", "model.norm.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("lm_head.weight", "lm_head.weight"),
        ("model.vision_tower.vision_model.embeddings.class_embedding", None),
        ("multi_modal_projector.linear_1.bias", None),
    ],
)
def test_names_of_the_language_model_alone(name: str, alone: str | None) -> None:
    assert build.language_name(name) == alone


def test_names_in_the_projectors_file() -> None:
    tower = "model.vision_tower.vision_model."
    assert build.vision_name(f"{tower}encoder.layers.1.mlp.fc1.weight", 2) == "v.blk.1.ffn_up.weight"
    assert build.vision_name(f"{tower}encoder.layers.2.mlp.fc1.weight", 2) is None
    assert build.vision_name(f"{tower}embeddings.class_embedding", 2) == "v.class_embd"
    assert build.vision_name("multi_modal_projector.linear_2.bias", 2) == "mm.2.bias"
    assert build.vision_name("language_model.lm_head.weight", 2) is None


def test_features_that_llama_cpp_cannot_stop_at_are_refused() -> None:
    config = {"vision_config": {"num_hidden_layers": 24}, "vision_feature_layer": -2}
    assert build.block_count(config) == 24
    assert build.block_count({**config, "vision_feature_layer": 12}) == 13
    for layer in (-1, 24, [3, 7], None):
        with pytest.raises(JobError, match="vision_feature_layer"):
            build.block_count({**config, "vision_feature_layer": layer})
