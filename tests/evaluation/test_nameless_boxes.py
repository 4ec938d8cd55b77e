"""Detectors whose outputs have no telling names are recognized by their values; what is no detector is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from edgehone.evaluation import agreement, output_roles, roles
from edgehone.inputs.output_sizes import aligned
from tests.evaluation import squares
from tests.evaluation.test_suppressed_boxes import changed, detected, together

RNG = np.random.default_rng(5)
Outputs = dict[str, Any]
DETECTED = detected(1)


def renamed(outputs: Outputs, **names: str) -> Outputs:
    """Outputs, and their sizes, by other names."""
    return {
        " ".join([names[key.split()[0]], *key.split()[1:]]): value
        for key, value in outputs.items()
        if key.split()[0] in names
    }


def nameless(samples: list[Outputs]) -> Outputs:
    return renamed(together(samples), boxes="Identity", scores="Identity_1", labels="Identity_2")


def kept(reference: Outputs, candidate: Outputs, **known: Any) -> float:
    found = output_roles.recognize(aligned(reference, reference)[0], **known)
    ours, theirs = aligned(reference, candidate, roles.padded(found))
    value = agreement.figures(ours, theirs, found)["accuracy_kept"].value
    assert value is not None
    return value


def fixed(samples: list[Outputs]) -> Outputs:
    """As many rows in every sample, zeros behind what was found."""
    return {name: array for name, array in together(samples).items() if "(size)" not in name}


def test_boxes_scores_and_classes_of_unequal_number_count_in_any_order() -> None:
    reference = nameless(DETECTED)
    (found,) = output_roles.recognize(reference)
    assert found.role == "detections" and found.layout is not None
    assert (found.layout.scores, found.layout.classes) == ("Identity_1", "Identity_2")
    assert "a guess by shapes and values" in found.sentence() and "'Identity_2'" in found.sentence()
    turned = nameless(changed(DETECTED, lambda one: {name: rows[::-1] for name, rows in one.items()}))
    assert kept(reference, turned) == 1.0
    assert (
        kept(reference, nameless(changed(DETECTED, lambda one: {**one, "labels": one["labels"] + 1}))) < 0.1
    )
    assert kept(reference, nameless(changed(DETECTED, lambda one: {**one, "boxes": one["boxes"] + 60}))) < 0.8


def test_the_task_kind_overrides_the_guess() -> None:
    reference = nameless(DETECTED)
    found = output_roles.recognize(aligned(reference, reference)[0], kind="unknown")
    assert not any(one.role == "detections" for one in found)
    turned = nameless(changed(DETECTED, lambda one: {name: rows[::-1] for name, rows in one.items()}))
    assert kept(reference, turned, kind="unknown") < 0.9


def test_tensorflows_eight_outputs_take_the_classes_for_the_classes() -> None:
    """`Identity` to `Identity_3`: indices of anchors, boxes as shares, classes in floats, scores; and the count."""
    known = fixed(DETECTED)
    anchors = np.stack([RNG.choice(1917, known["scores"].shape[1], replace=False) for _ in DETECTED])
    outputs = {
        "Identity": anchors.astype(np.float32),
        "Identity_1": known["boxes"] / 1000,
        "Identity_2": known["labels"].astype(np.float32),
        "Identity_4": known["scores"],
        "Identity_5": (known["scores"] > 0).sum(1).astype(np.float32),
    }
    found = {one.name: one for one in output_roles.recognize(outputs)}
    layout = found["Identity_1"].layout
    assert layout is not None and (layout.scores, layout.classes) == ("Identity_4", "Identity_2")
    assert found["Identity_5"].role == "size"


@pytest.mark.parametrize(
    ("columns", "order"),
    [
        (6, (5, 4, 0, 1, 2, 3)),
        (6, (0, 1, 2, 3, 5, 4)),
        (7, (6, 0, 1, 2, 3, 5, 4)),
        (7, (6, 5, 4, 0, 1, 2, 3)),
    ],
    ids=["class-score-box", "box-class-score", "picture-box-class-score", "picture-class-score-box"],
)
@pytest.mark.parametrize("ndim", [3, 4])
def test_rows_with_the_numbers_of_classes(columns: int, order: tuple[int, ...], ndim: int) -> None:
    """PaddleDetection, YOLOv7, and SSD's DetectionOutput [1, 1, k, 7]."""
    known = fixed(DETECTED)
    number = np.zeros_like(known["scores"])
    parts = [known["boxes"], *(one[..., None] for one in (known["scores"], known["labels"], number))]
    rows = np.concatenate(parts, 2)[..., order].astype(np.float32)

    def shaped(array: Any) -> Outputs:
        return {"output0": array if ndim == 3 else array[:, None]}

    (found,) = output_roles.recognize(shaped(rows))
    assert found.role == "detections" and found.layout is not None
    assert kept(shaped(rows), shaped(rows[:, ::-1])) == 1.0
    wrong = rows.copy()
    wrong[..., order.index(5)] += 1
    assert kept(shaped(rows), shaped(wrong)) < 0.1
    assert kept(shaped(rows), shaped(rows[np.r_[1 : len(rows), 0]])) < 0.8
    assert rows.shape[2] == columns


def test_rows_of_a_box_and_a_score_beside_their_classes() -> None:
    """MMDetection's `dets` [samples, k, 5] and `labels`, by other names."""
    known = fixed(DETECTED)
    rows = np.concatenate([known["boxes"], known["scores"][..., None]], 2)
    reference = {"801": rows, "805": known["labels"]}
    (found,) = output_roles.recognize(reference)
    assert found.role == "detections"
    assert kept(reference, {name: array[:, ::-1] for name, array in reference.items()}) == 1.0
    assert kept(reference, {"801": rows, "805": known["labels"] + 1}) < 0.1


def test_anchors_with_a_score_for_each_class() -> None:
    """Boxes of all anchors in pixels [samples, 300, 4] beside scores [samples, 300, 3], few of which are high."""
    corner = RNG.uniform(0, 200, (40, 300, 2))
    boxes = np.concatenate([corner, corner + RNG.uniform(10, 90, (40, 300, 2))], 2).astype(np.float32)
    scores = RNG.uniform(0, 0.05, (40, 300, 3)).astype(np.float32)
    scores[:, ::50, 1] = 0.9
    (found,) = output_roles.recognize({"a": boxes, "b": scores})
    assert found.role == "detections" and found.layout is not None and not found.layout.suppressed
    assert kept({"a": boxes, "b": scores}, {"a": boxes, "b": scores[:, :, [0, 2, 1]]}) < 0.1


def softmax(x: Any) -> Any:
    odds = np.exp(x - x.max(-1, keepdims=True))
    return (odds / odds.sum(-1, keepdims=True)).astype(np.float32)


def corners(n: int, k: int) -> Any:
    low = RNG.uniform(0, 0.5, (n, k, 2))
    return np.concatenate([low, low + RNG.uniform(0.1, 0.5, (n, k, 2))], 2).astype(np.float32)


@pytest.mark.parametrize(
    "outputs",
    [
        {"y": RNG.uniform(0, 100, (90, 4)).astype(np.float32)},
        {"y": corners(90, 1)[:, 0]},
        {"y": softmax(3 * RNG.normal(size=(90, 20, 4))), "p": RNG.uniform(size=(90, 20)).astype(np.float32)},
        {"y": RNG.normal(size=(90, 20, 4)).astype(np.float32), "p": softmax(RNG.normal(size=(90, 20)))},
        {"y": np.sort(RNG.uniform(10, 90, (90, 24, 4))).astype(np.float32), "p": -np.sort(-RNG.random((90, 24)))},
        {"y": corners(90, 20), "p": RNG.uniform(size=(90, 20)).astype(np.float32)},
        {"y": corners(90, 20) * 3, "p": RNG.integers(0, 5, (90, 20)), "q": RNG.random((90, 20))},
        {"y": corners(90, 20), "p": RNG.integers(0, 5, (90, 20))},
        {"y": corners(90, 20) - 0.4, "p": -np.sort(-RNG.random((90, 20)))},
        {"y": RNG.uniform(0, 90, (90, 30, 6)).astype(np.float32)},
        {"y": np.concatenate([corners(90, 20) * 99, RNG.normal(size=(90, 20, 3))], 2).astype(np.float32)},
        {"y": RNG.integers(0, 9, (90, 20, 7)).astype(np.float32)},
        {"hidden": corners(90, 20), "p": -np.sort(-RNG.random((90, 20)))},
    ],
    ids=[
        "regression-of-4", "one-box-a-picture", "softmax-of-4", "any-signs", "rising-quantiles", "no-order-of-scores",
        "neither-shares-nor-pixels", "no-scores", "negative", "numbers-of-6", "numbers-of-7", "whole-numbers",
        "named-otherwise",
    ],
)  # fmt: skip
def test_what_is_no_detector_is_not_taken_for_one(outputs: Outputs) -> None:
    found = output_roles.recognize(outputs)
    assert not any(one.role == "detections" for one in found), found
    assert {one.name for one in found} == {*outputs}


def test_few_boxes_are_enough_where_the_user_says_that_it_is_a_detector() -> None:
    outputs = {"a": corners(3, 2), "b": RNG.uniform(0.3, 0.9, (3, 2)).astype(np.float32)}
    assert not any(one.role == "detections" for one in output_roles.recognize(outputs))
    (found,) = output_roles.recognize(outputs, kind="detection")
    assert found.role == "detections" and found.layout is not None and found.layout.scores == "b"


@pytest.mark.parametrize("shares", [False, True])
def test_a_graph_that_finds_squares(tmp_path: Path, shares: bool) -> None:
    run = ReferenceEvaluator(str(squares.save(tmp_path / "m.onnx", shares=shares)))
    rows: list[Any] = [run.run(None, {"picture": one[None]}) for one in squares.pictures(40)]
    reference = {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(squares.NAMES)}
    (found,) = output_roles.recognize(reference, inputs=["picture"])
    assert found.role == "detections" and found.layout is not None
    assert (found.name, found.layout.scores, found.layout.classes) == squares.NAMES
    assert kept(reference, {name: array[:, ::-1] for name, array in reference.items()}) == 1.0
    assert kept(reference, {name: np.roll(array, 1, 0) for name, array in reference.items()}) < 0.8
