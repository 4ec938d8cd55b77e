"""Models that are run block by block: the same figures as with the whole model in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgehone.inputs.texts import shipped

RunWorker = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


@pytest.mark.real
def test_streamed_scores_equal_those_of_the_whole_model(
    demo_model: Path, run_worker: RunWorker, tmp_path: Path
) -> None:
    facts = run_worker("pytorch", "streamedfunctions:scores", {}, {"model": demo_model}, tmp_path / "out")
    assert facts["difference"] < 1e-4 * facts["size"] and facts["again"] < 1e-4 * facts["size"]
    assert facts["files"] == 2, "texts of one length share a file"
    assert not facts["left"] and facts["ids"]


@pytest.mark.real
def test_streamed_sensitivities_equal_those_of_the_whole_model(
    demo_model: Path, run_worker: RunWorker, tmp_path: Path
) -> None:
    prepared = tmp_path / "prepared"
    inputs = {"model": demo_model, "evaluation": shipped("evaluation"), "calibration": shipped("calibration")}
    backend = {"backend": "edgehone.backends.pytorch.backend"}
    run_worker("pytorch", "edgehone.worker.prepare:prepare", backend, inputs, prepared)
    given = {"model": demo_model, "calibration": prepared / "calibration"}
    measure = "edgehone.backends.pytorch.sensitivity:measure"
    facts = run_worker("pytorch", measure, {}, given, tmp_path / "table")
    assert [path.name for path in (tmp_path / "table").iterdir()] == ["sensitivity.json"]
    names = {name: name.replace("model.embed_tokens", "tied") for name in facts["exact"]}
    whole = run_worker(
        "pytorch",
        "streamedfunctions:sensitivities",
        {"exact": list(names.values())},
        given,
        tmp_path / "whole",
    )
    for name, place in names.items():
        assert facts["estimated"][name] == pytest.approx(whole["estimated"][place], rel=0.02), name
        assert facts["exact"][name] == pytest.approx(whole["exact"][place], rel=0.02), name
