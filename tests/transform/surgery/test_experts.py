"""Expert pruning: which experts are removed, when none can be, and what the pruned model computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import ModelError
from edgehone.plan import surgery
from edgehone.transform.surgery import experts

RunWorker = Callable[..., dict[str, Any]]
HERE = "edgehone.transform.surgery.experts"

MEASURED = {
    "experts": 4,
    "per_token": 2,
    "mass": {"0": [0.5, 0.0, 0.499, 0.001], "2": [0.31, 0.4, 0.29, 0.0]},
}


def test_as_many_experts_are_removed_as_every_block_has_unused() -> None:
    assert experts.least_used(MEASURED, 0.0, None) == {0: [0, 2, 3], 2: [0, 1, 2]}
    # Expert 3 of block 0 has less than a hundredth of an even share (a quarter); block 2 has only one such expert.
    assert experts.least_used(MEASURED, 0.01, None) == {0: [0, 2, 3], 2: [0, 1, 2]}


def test_a_share_is_removed_regardless_of_use_but_experts_per_token_remain() -> None:
    assert experts.least_used(MEASURED, None, 0.5) == {0: [0, 2], 2: [0, 1]}
    assert {len(kept) for kept in experts.least_used(MEASURED, None, 0.9).values()} == {2}


def test_nothing_is_removed_where_every_expert_is_used(tmp_path: Path) -> None:
    even = {**MEASURED, "mass": {"0": [0.25] * 4, "1": [0.1, 0.2, 0.3, 0.4]}}
    assert experts.least_used(even, 0.02, None) == {}
    (tmp_path / experts.MEASURED).write_text(json.dumps(even))
    inputs = {"model": tmp_path, "measured": tmp_path}
    job = WorkerJob({"unused": 0.02}, inputs, tmp_path, None, 1, lambda fraction, what: None)
    assert "least used of 4 has 100.0%" in experts.prune(job)["nothing_to_gain"]


def test_a_model_without_experts_is_refused() -> None:
    assert experts.count_of({"num_local_experts": 8}) == 8
    with pytest.raises(ModelError, match="num_local_experts, num_experts"):
        experts.count_of({"num_hidden_layers": 4})


@pytest.mark.real
@pytest.mark.parametrize("family", surgery.model_types("prune_experts"))
def test_pruning_experts_that_a_text_does_not_use_keeps_its_logits(
    family: str,
    run_worker: RunWorker,
    tiny_families: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    args, inputs = {"ids": [1, 50]}, {"model": tiny_families(family)}
    facts = run_worker("pytorch", "surgeryfunctions:prune_unused", args, inputs, tmp_path / "pruned")
    assert facts["left"] == 4 and facts["mass_dropped"] == pytest.approx(0, abs=1e-9)
    assert facts["same_experts"][0]
    # Qwen2's routers do not renormalize over the chosen experts, so removing others increases each one's weight.
    if family != "qwen2_moe":
        assert facts["difference"] < 1e-4
        assert all(facts["same_experts"])


@pytest.mark.real
def test_usage_is_counted_over_all_tokens(
    run_worker: RunWorker, tiny_families: Callable[[str], Path], calibration: Path, tmp_path: Path
) -> None:
    inputs = {"model": tiny_families("qwen2_moe"), "calibration": calibration}
    facts = run_worker("pytorch", f"{HERE}:usage", {}, inputs, tmp_path / "use")
    assert facts["experts"] == 8 and sorted(facts["counts"]) == ["0", "1", "2", "3"]
    for block, counts in facts["counts"].items():
        assert sum(counts) == 2 * facts["tokens"]
        assert sum(facts["mass"][block]) == pytest.approx(1)
