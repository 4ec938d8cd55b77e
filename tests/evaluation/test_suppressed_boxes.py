"""Detectors that suppress boxes themselves: as many boxes as there are, with a score and a class each, in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgehone.evaluation import agreement, collapse, output_roles, roles
from edgehone.inputs.output_sizes import aligned, joined
from edgehone.worker import detections

Outputs = dict[str, Any]


def detected(seed: int, samples: int = 120) -> list[Outputs]:
    """Boxes of each sample by themselves: corners, sure scores, best first, and classes."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(samples):
        count = rng.integers(1, 6)
        places = rng.choice(9, count, replace=False) * 100
        corner = np.stack([places, rng.uniform(0, 300, count)], 1)
        boxes = np.concatenate([corner, corner + rng.uniform(40, 90, (count, 2))], 1)
        scores = np.sort(rng.uniform(0.5, 1, count))[::-1]
        found.append({"boxes": boxes, "scores": scores, "labels": rng.integers(0, 5, count)})
    return found


def together(samples: list[Outputs]) -> Outputs:
    """One array for each output, padded, as scoring stores them."""
    outputs: Outputs = {}
    for name in samples[0]:
        kind = np.int64 if name == "labels" else np.float32
        rows = [np.asarray(one[name], kind)[None] for one in samples]
        outputs |= joined(name, rows, with_sizes=True)
    return outputs


def roles_of(samples: list[Outputs]) -> Any:
    outputs = together(samples)
    return output_roles.recognize(aligned(outputs, outputs)[0])


def kept(reference: list[Outputs], candidate: list[Outputs]) -> float:
    found = roles_of(reference)
    assert [one.role for one in found] == ["detections"]
    ours, theirs = aligned(together(reference), together(candidate), roles.padded(found))
    assert collapse.reason(found, ours, theirs) is None
    value = agreement.figures(ours, theirs, found)["accuracy_kept"].value
    assert value is not None
    return value


def changed(samples: list[Outputs], change: Any) -> list[Outputs]:
    return [change(dict(one)) for one in samples]


REFERENCE = detected(1)


def test_another_order_is_the_same_result() -> None:
    assert kept(REFERENCE, REFERENCE) == 1.0
    turned = changed(REFERENCE, lambda one: {name: array[::-1] for name, array in one.items()})
    assert kept(REFERENCE, turned) == 1.0


def test_a_weak_box_more_is_no_loss_and_a_sure_one_is() -> None:
    def with_box(score: float) -> list[Outputs]:
        more = {"boxes": [[0, 900, 50, 950]], "scores": [score], "labels": [1]}
        return changed(REFERENCE, lambda one: {name: np.concatenate([one[name], more[name]]) for name in one})

    assert kept(REFERENCE, with_box(0.1)) == 1.0
    assert kept(REFERENCE, with_box(0.9)) < 0.9


@pytest.mark.parametrize(
    "change",
    [
        lambda one: {**one, "labels": one["labels"] + 1},
        lambda one: {**one, "boxes": one["boxes"] + 60},
        lambda one: {name: array[:1] for name, array in one.items()},
        lambda one: {**one, "scores": one["scores"] * 0.1},
        lambda one: {name: np.repeat(array, 5, 0) for name, array in one.items()},
    ],
    ids=["classes", "places", "first-only", "unsure", "five-times"],
)
def test_what_is_wrong_is_found(change: Any) -> None:
    found = roles_of(REFERENCE)
    ours, theirs = aligned(together(REFERENCE), together(changed(REFERENCE, change)), roles.padded(found))
    value = agreement.figures(ours, theirs, found)["accuracy_kept"].value
    assert value is not None and (value < 0.8 or collapse.reason(found, ours, theirs))


def test_a_fixed_number_of_places_with_a_count_and_classes_in_floats() -> None:
    """As TensorFlow's detectors give them: detection_classes before detection_scores, and num_detections."""
    outputs = together(REFERENCE)
    fixed = {
        "detection_boxes": outputs["boxes"] / 1000,
        "detection_classes": outputs["labels"].astype(np.float32),
        "detection_scores": outputs["scores"],
        "num_detections": (outputs["scores"] > 0).sum(1).astype(np.float32),
    }
    found = output_roles.recognize(fixed)
    assert [one.role for one in found] == ["detections", "size"]
    layout = found[0].layout
    assert (
        layout is not None and layout.scores == "detection_scores" and layout.classes == "detection_classes"
    )
    boxes, scores, classes = detections.find(fixed, layout, 0)
    assert len(boxes) == len(scores) == len(REFERENCE[0]["scores"])
    assert sorted(classes) == sorted(REFERENCE[0]["labels"])
    assert agreement.figures(fixed, fixed, found)["accuracy_kept"].value == 1.0


def test_a_candidate_that_finds_nothing_collapsed() -> None:
    found = roles_of(REFERENCE)
    nothing = {name: array[:, :0] for name, array in together(REFERENCE).items() if "size" not in name}
    nothing |= {f"{name} (size)": np.zeros((120, array.ndim - 1), int) for name, array in nothing.items()}
    ours, theirs = aligned(together(REFERENCE), nothing, roles.padded(found))
    assert "collapsed" in str(collapse.reason(found, ours, theirs))
    assert agreement.figures(ours, theirs, found)["accuracy_kept"].value == 0


def test_more_boxes_than_an_original_that_always_finds_as_many() -> None:
    three = [one for one in detected(2, 400) if len(one["scores"]) == 3][:40]
    fixed = {name: array for name, array in together(three).items() if "size" not in name}
    found = output_roles.recognize(fixed)
    less = together(changed(three, lambda one: {name: array[:2] for name, array in one.items()}))
    ours, theirs = aligned(fixed, less, roles.padded(found))
    value = agreement.figures(ours, theirs, found)["accuracy_kept"].value
    assert value == pytest.approx(0.8)


def test_rows_of_corners_score_and_class() -> None:
    """As YOLOv10 gives them, always as many rows, best first."""
    outputs = together(REFERENCE)
    rows = np.concatenate([outputs["boxes"], outputs["scores"][..., None], outputs["labels"][..., None]], 2)
    one = {"output0": rows.astype(np.float32)}
    found = output_roles.recognize(one)
    assert (
        [each.role for each in found] == ["detections"]
        and found[0].layout
        and found[0].layout.columns == (0, 4, 5)
    )
    assert agreement.figures(one, {"output0": rows[:, ::-1]}, found)["accuracy_kept"].value == 1.0
    wrong = rows.copy()
    wrong[..., 5] += 1
    value = agreement.figures(one, {"output0": wrong}, found)["accuracy_kept"].value
    assert value is not None and value < 0.1


def test_classes_in_floats_are_rounded() -> None:
    outputs = together(REFERENCE)
    near = {**outputs, "labels": outputs["labels"] - 1e-3}
    found = roles_of(REFERENCE)
    assert agreement.figures(outputs, near, found)["accuracy_kept"].value == 1.0
