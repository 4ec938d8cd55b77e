"""Scores of boxes that are wrong are a loss though every box is right: equal, shuffled, saturated, reversed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgehone.evaluation import agreement, collapse, output_roles, roles
from edgehone.inputs.output_sizes import aligned
from tests.evaluation.test_suppressed_boxes import changed, detected, together

Outputs = dict[str, Any]
REFERENCE = detected(4)
RNG = np.random.default_rng(6)


def judged(reference: Outputs, candidate: Outputs) -> tuple[float, str | None]:
    """accuracy_kept, and why the candidate collapsed."""
    found = output_roles.recognize(aligned(reference, reference)[0])
    assert [one.role for one in found] == ["detections"]
    ours, theirs = aligned(reference, candidate, roles.padded(found))
    value = agreement.figures(ours, theirs, found)["accuracy_kept"].value
    assert value is not None
    return value, collapse.reason(found, ours, theirs)


def scored(change: Callable[[Any], Any]) -> Outputs:
    return together(changed(REFERENCE, lambda one: {**one, "scores": change(one["scores"])}))


def rows(outputs: Outputs) -> Outputs:
    """The same as rows of corners, score and class in one output, as YOLOv10's."""
    parts = [outputs["boxes"], outputs["scores"][..., None], outputs["labels"][..., None]]
    return {"output0": np.concatenate(parts, 2).astype(np.float32)}


WRONG: dict[str, Callable[[Any], Any]] = {
    "equal": lambda scores: np.full_like(scores, 0.7),
    "saturated": np.ones_like,
    "nearly-equal": lambda scores: 0.7 + 1e-4 * scores,
    "shuffled": RNG.permutation,
    "of-others": lambda scores: RNG.uniform(0.5, 1, scores.shape),
    "reversed": lambda scores: 1.5 - scores,
}


@pytest.mark.parametrize("form", [dict, rows], ids=["outputs", "rows"])
@pytest.mark.parametrize("name", [*WRONG])
def test_wrong_scores_are_a_loss(name: str, form: Callable[[Outputs], Outputs]) -> None:
    reference, candidate = (form(one) for one in (together(REFERENCE), scored(WRONG[name])))
    value, why = judged(reference, candidate)
    collapsed = why is not None and "the scores of all" in why
    assert collapsed == (name in ("equal", "saturated", "nearly-equal"))
    assert (value < 0.85) == (name != "nearly-equal")  # which has the order


@pytest.mark.parametrize(
    "change",
    [
        lambda scores: scores,
        lambda scores: scores + RNG.normal(0, 0.01, scores.shape),
        lambda scores: np.round(scores * 255) / 255,
        lambda scores: scores**2,
        lambda scores: 0.5 + scores / 2,
    ],
    ids=["same", "noise", "8-bits", "lower", "higher"],
)
def test_scores_in_the_same_order_are_none(change: Callable[[Any], Any]) -> None:
    value, why = judged(together(REFERENCE), scored(change))
    assert value >= 0.99 and why is None


def test_an_original_whose_boxes_all_score_alike_asks_for_no_order() -> None:
    alike = changed(REFERENCE, lambda one: {**one, "scores": 0.95 + 0.001 * one["scores"]})
    equal = changed(REFERENCE, lambda one: {**one, "scores": np.full_like(one["scores"], 0.95)})
    assert judged(together(alike), together(equal)) == (1.0, None)


def test_few_detections_ask_for_no_order() -> None:
    few = REFERENCE[:2]
    equal = changed(few, lambda one: {**one, "scores": np.full_like(one["scores"], 0.7)})
    found = output_roles.recognize(together(few))
    assert agreement.figures(together(few), together(equal), found)["accuracy_kept"].value == 1.0


def test_many_detections_are_compared_in_bounded_memory() -> None:
    many = detected(7, samples=1500)
    assert sum(len(one["scores"]) for one in many) > 4000
    shuffled = changed(many, lambda one: {**one, "scores": RNG.uniform(0.5, 1, one["scores"].shape)})
    value, _ = judged(together(many), together(shuffled))
    assert value < 0.7
    assert judged(together(many), together(many)) == (1.0, None)
