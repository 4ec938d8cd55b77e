"""Quality and robustness of graphs, on outputs of an original and of candidates with planted defects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.certify.found import Found, Skipped
from edgehone.certify.graph_runs import CLEAN, EXTREME, MISSING, GraphRuns, graph_runs
from edgehone.certify.profile import read_profile
from edgehone.certify.robustness_graph import (
    accuracy,
    blur,
    brightness,
    extreme_values,
    missing_values,
    noise,
    slices,
)
from edgehone.certify.subject import Subject
from edgehone.evaluation.roles import OutputRole
from edgehone.execution.store import JobResult
from edgehone.inputs.batches import Batches
from tests.certify.subjects import subject_of
from tests.finished import Finished
from tests.serve.graphs import null_graph

COUNT, CLASSES = 200, 4
LABELS = np.arange(COUNT) % CLASSES
KINDS = ("noise", "blur", "brightness")
ENDS = (*EXTREME, *MISSING)


def scores(wrong: Any = ()) -> Any:
    """Scores that name the labels, but for the `wrong` samples."""
    found = np.eye(CLASSES, dtype=np.float32)[LABELS]
    rows = np.array(list(wrong), int)
    found[rows] = np.roll(found[rows], 1, axis=1)
    return found


def _result(folder: Path, outputs: Mapping[str, Any], facts: Mapping[str, Any]) -> JobResult:
    (folder / "out").mkdir(parents=True)
    for name, array in outputs.items():
        np.savez(folder / "out" / f"{name}.npz", scores=array)
    fine = {"samples": COUNT, "error": None, "finite": COUNT}
    every = {name: {**fine, **facts.get(name, {})} for name in (CLEAN, *KINDS, *ENDS)}
    return JobResult("key", folder, every, 0.0, False, {}, "key")


def runs(
    tmp_path: Path,
    original: Mapping[str, Any],
    candidate: Mapping[str, Any],
    facts: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
    *,
    labelled: bool = True,
    named: list[str] | None = None,
) -> GraphRuns:
    """Runs of an original and a candidate; cases that are not given are as the clean one."""
    first, second = (
        _result(tmp_path / name, {case: each.get(case, each[CLEAN]) for case in (CLEAN, *KINDS)}, told)
        for name, each, told in (("original", original, facts[0]), ("candidate", candidate, facts[1]))
    )
    samples = Batches({"x": np.zeros((COUNT, 3), np.float32)}, LABELS if labelled else None)
    return GraphRuns(samples, named, first, second, [OutputRole("scores", "classes", "told")])


@pytest.fixture
def subject(finished: Finished, tmp_path: Path) -> Subject:
    return subject_of(finished.bundle, tmp_path / "work")


def judge(subject: Subject, made: GraphRuns, check: Any) -> Found:
    subject._made[graph_runs] = made
    name = getattr(check, "__name__", None) or check.args[0]
    rules = read_profile().checks
    found: Found = check(subject, rules[name] if isinstance(name, str) else rules["extreme_values"])
    return found


@pytest.mark.parametrize("labelled", [True, False])
def test_a_candidate_like_the_original_passes(subject: Subject, tmp_path: Path, labelled: bool) -> None:
    worse = {CLEAN: scores(range(5)), "noise": scores(range(60))}  # noise hurts both alike
    made = runs(tmp_path, worse, worse, labelled=labelled)
    for check in (accuracy, slices, noise, blur, brightness, extreme_values, missing_values):
        assert judge(subject, made, check).outcome == "passed"


@pytest.mark.parametrize("labelled", [True, False])
def test_lost_accuracy_is_found(subject: Subject, tmp_path: Path, labelled: bool) -> None:
    made = runs(tmp_path, {CLEAN: scores()}, {CLEAN: scores(range(40))}, labelled=labelled)
    assert judge(subject, made, accuracy).outcome == "failed"


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("check", [noise, blur, brightness])
def test_what_breaks_more_than_the_original_is_found(
    subject: Subject, tmp_path: Path, labelled: bool, check: Any
) -> None:
    case = check.args[0]
    made = runs(
        tmp_path,
        {CLEAN: scores(), case: scores(range(10))},
        {CLEAN: scores(), case: scores(range(50))},
        labelled=labelled,
    )
    assert judge(subject, made, check).outcome == "failed"
    assert judge(subject, made, accuracy).outcome == "passed"


def test_a_lost_class_is_found_by_its_slice(subject: Subject, tmp_path: Path) -> None:
    lost = np.flatnonzero(LABELS == 2)[:25]
    made = runs(tmp_path, {CLEAN: scores()}, {CLEAN: scores(lost)})
    found = judge(subject, made, slices)
    assert found.outcome == "failed" and "class 2" in found.reason


def test_named_slices_are_judged(subject: Subject, tmp_path: Path) -> None:
    named = ["night" if at < 30 else "day" for at in range(COUNT)]
    made = runs(tmp_path, {CLEAN: scores()}, {CLEAN: scores(range(15))}, named=named)
    found = judge(subject, made, slices)
    assert found.outcome == "failed" and "night" in found.reason


def test_small_slices_are_not_judged(subject: Subject, tmp_path: Path) -> None:
    made = runs(tmp_path, {CLEAN: scores()}, {CLEAN: scores()}, named=[str(at) for at in range(COUNT)])
    with pytest.raises(Skipped, match="no slice has 20"):
        judge(subject, made, slices)


@pytest.mark.parametrize(("check", "case"), [(extreme_values, "largest"), (missing_values, "nan")])
def test_a_candidate_that_alone_fails_is_found(
    subject: Subject, tmp_path: Path, check: Any, case: str
) -> None:
    outputs = {CLEAN: scores()}
    for number, told in enumerate(({"error": "it crashed"}, {"finite": 3})):
        made = runs(tmp_path / str(number), outputs, outputs, ({}, {case: told}))
        assert judge(subject, made, check).outcome == "failed"
    both = runs(tmp_path / "both", outputs, outputs, ({case: {"finite": 0}}, {case: {"finite": 0}}))
    assert judge(subject, both, check).outcome == "passed"


def test_without_samples_a_graph_is_skipped(finished: Finished, spoiled: Path, tmp_path: Path) -> None:
    null_graph(spoiled)
    decision = json.loads((spoiled / "decision.json").read_text())
    decision["model"]["format"] = "onnx"
    (spoiled / "decision.json").write_text(json.dumps(decision))
    with pytest.raises(Skipped, match="--eval"):
        graph_runs(subject_of(spoiled, tmp_path / "work"))
