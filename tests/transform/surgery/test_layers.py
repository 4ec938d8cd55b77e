"""Layer dropping: which blocks are removed, the new config.json, and what the shortened model computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import ModelError
from edgehone.plan import surgery
from edgehone.transform.surgery import layers

RunWorker = Callable[..., dict[str, Any]]
HERE = "edgehone.transform.surgery.layers"


def test_the_blocks_that_cost_least_are_removed() -> None:
    assert layers.least([3.0, 1.0, 2.0, 0.5, 9.0], 2) == [1, 3]
    assert layers.least([1.0, 1.0, 1.0], 1) == [0]


@pytest.mark.parametrize("count", [0, -1, 3, 4])
def test_at_least_two_blocks_remain(count: int) -> None:
    with pytest.raises(ModelError, match=rf"{count} of 4 blocks"):
        layers.least([1.0, 2.0, 3.0, 4.0], count)


def test_config_values_per_block_are_shortened() -> None:
    config = {
        "num_hidden_layers": 5,
        "layer_types": ["a", "b", "c", "d", "e"],
        "mlp_only_layers": [0, 3, 4],
        "max_window_layers": 28,
        "first_k_dense_replace": 2,
        "eos_token_id": [1, 2, 3, 4, 5],
    }
    assert layers.shortened_config(config, [0, 2, 4]) == {
        "num_hidden_layers": 3,
        "layer_types": ["a", "c", "e"],
        "mlp_only_layers": [0, 2],
        "max_window_layers": 3,
        "first_k_dense_replace": 1,
        "eos_token_id": [1, 2, 3, 4, 5],
    }


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"layer_types": ["full_attention", "sliding_attention"]}, "full_attention, sliding_attention"),
        ({"decoder_sparse_step": 2}, "one in 2 blocks"),
        ({"layer_types": ["full_attention"] * 3, "decoder_sparse_step": 1}, None),
        ({"layer_types": None}, None),
    ],
)
def test_alternating_blocks_are_not_dropped(config: dict[str, Any], reason: str | None) -> None:
    refusal = layers.alternating_blocks(config)
    assert refusal is None if reason is None else reason in str(refusal)


@pytest.mark.real
@pytest.mark.parametrize("family", surgery.model_types("drop_layers"))
def test_a_shortened_checkpoint_computes_the_model_with_the_block_skipped(
    family: str,
    run_worker: RunWorker,
    tiny_families: Callable[[str], Path],
    calibration: Path,
    tmp_path: Path,
) -> None:
    inputs = {"model": tiny_families(family), "calibration": calibration}
    facts = run_worker("pytorch", "surgeryfunctions:skipped_and_dropped", {}, inputs, tmp_path / "cut")
    assert len(facts["influence"]) == len(facts["loss_without"]) == 4 and facts["blocks"] == 3
    assert all(0 < influence < 2 for influence in facts["influence"])
    assert facts["dropped"] == [facts["loss_without"].index(min(facts["loss_without"]))]
    assert facts["difference"] < 1e-4
    assert facts["change"] > 1e-2
    assert facts["same_ids"]
    assert facts["bytes"] < sum(path.stat().st_size for path in inputs["model"].glob("*.safetensors"))


@pytest.mark.real
def test_a_shortened_checkpoint_has_the_same_logits_in_llamacpp(
    run_worker: RunWorker,
    demo_model: Path,
    calibration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "backends"))
    (tmp_path / layers.MEASURED).write_text(json.dumps({"loss_without": [8.0, 3.2, 3.1, 3.3]}))
    shorter, converted = tmp_path / "shorter", tmp_path / "converted"
    inputs = {"model": demo_model, "measured": tmp_path}
    facts = run_worker("pytorch", f"{HERE}:drop", {"count": 1}, inputs, shorter)
    assert facts["dropped"] == [2] and facts["kept_layers"] == [0, 1, 3]
    build = "edgehone.backends.llamacpp.build:convert"
    assert run_worker("llamacpp", build, {}, {"model": shorter}, converted)["tensor_types"]["F16"] == 22
    (calibration / "calibration.txt").write_text("The ship lay at anchor, and the men went ashore. " * 60)
    inputs = {"model": shorter, "artifact": converted, "calibration": calibration}
    compared = run_worker("llamacpp", "llamacppfunctions:compare", {}, inputs, tmp_path / "compared")
    assert compared["same_ids"] and compared["greedy"] and abs(compared["kl"]) < 1e-5
