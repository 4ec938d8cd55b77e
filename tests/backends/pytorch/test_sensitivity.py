"""The sensitivity of weights to rounding: facts of the demo model, and rank correlation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.pytorch import sensitivity
from edgehone.inputs.texts import shipped
from edgehone.transform.precision import assign

RunWorker = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [([1, 2, 3, 4], [10, 20, 30, 99], 1.0), ([1, 2, 3], [3, 2, 1], -1.0), ([1, 2, 3, 4], [1, 3, 2, 4], 0.8)],
)
def test_rank_correlation_is_spearmans(one: list[float], other: list[float], expected: float) -> None:
    assert sensitivity.rank_correlation(np.array(one), np.array(other)) == pytest.approx(expected)


def test_rank_correlation_of_two_values_is_none() -> None:
    assert sensitivity.rank_correlation(np.array([1, 2]), np.array([1, 2])) is None


@pytest.mark.real
def test_some_rows_of_a_large_matrix_tell_the_errors_of_all(
    run_worker: RunWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    found = run_worker(
        "pytorch", "pytorchfunctions:sampled_errors", {"sampled": 1 << 18}, {}, tmp_path / "out"
    )
    assert found["alike"]  # what is added to the weights is that of every row
    assert found["some"].keys() == found["whole"].keys() >= {"2x32", "4x64", "8xrow"}
    assert found["some"] == pytest.approx(found["whole"], rel=0.02)
    assert found["some"] != found["whole"]


@pytest.mark.real
def test_estimates_rank_like_the_measured_divergences(
    demo_model: Path, run_worker: RunWorker, tmp_path: Path
) -> None:
    """Compare the estimates with the divergences measured by rounding one matrix at a time."""
    prepared = tmp_path / "prepared"
    inputs = {"model": demo_model, "evaluation": shipped("evaluation"), "calibration": shipped("calibration")}
    run_worker(
        "pytorch",
        "edgehone.worker.prepare:prepare",
        {"backend": "edgehone.backends.pytorch.backend"},
        inputs,
        prepared,
    )
    out = tmp_path / "table"
    facts = run_worker(
        "pytorch",
        "edgehone.backends.pytorch.sensitivity:measure",
        {},
        {"model": demo_model, "calibration": prepared / "calibration"},
        out,
    )
    table = {weight.name: weight for weight in assign.read(out)}
    assert len(table) == 4 * 7 + 1 and table["model.embed_tokens"].kind == "tied"
    assert facts["rank_correlation"] >= 0.9 and 0.7 < facts["scale"] < 1.4
    assert max(table.values(), key=lambda weight: weight.kl).name == "model.embed_tokens"
    for weight in table.values():
        # One more bit halves the step, so it quarters the squared error.
        assert 3 < weight.errors["3x64"] < 6 and 0.15 < weight.errors["5x64"] < 0.35
        assert weight.errors["4x32"] < 1 < weight.errors["4x128"]
        assert weight.errors["4x64"] == pytest.approx(1)
    assert all(facts["exact"][name] > 0 for name in facts["estimated"])
