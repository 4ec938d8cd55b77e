"""Each output is judged on its own scale: what a flattened average hides is found, and what is equal passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from edgehone.evaluation import agreement, collapse, decisions, metrics, output_roles, roles, scales
from edgehone.evaluation import statistics as st
from edgehone.worker import ctc, detections
from tests.evaluation.test_roles import ctc_scores, logits, softmax, unit, yolo

RNG = np.random.default_rng(1)


def kept(reference: dict[str, Any], candidate: dict[str, Any], **known: Any) -> Any:
    return agreement.kept(reference, candidate, output_roles.recognize(reference, **known))


def with_objects(scores: Any, samples: int) -> Any:
    """Put an object of a sure score into each of the first samples."""
    result = scores.copy()
    for i in range(samples):
        result[i, :4, i] = (100, 100, 40, 40)
        result[i, 4 + i % 3, i] = 0.9
    return result


def test_a_detector_without_scores_is_refused_though_its_boxes_are_exact() -> None:
    reference = {"output0": with_objects(yolo(96), 23)}
    broken = {"output0": reference["output0"].copy()}
    broken["output0"][:, 4:] = 0
    assert metrics.cosine(*(a["output0"].reshape(96, -1) for a in (reference, broken))).mean() > 0.999
    known = output_roles.recognize(reference)
    assert kept(reference, broken).value < 0.1
    assert "collapsed" in str(collapse.reason(known, reference, broken))
    assert collapse.reason(known, reference, reference) is None
    near = {"output0": reference["output0"] * np.float32(1.001)}
    exact = kept(reference, near)
    assert exact.value == 1 and exact.low > 0.95
    assert collapse.reason(known, reference, near) is None


def test_few_detections_that_are_lost_are_not_hidden_by_many_empty_pictures() -> None:
    reference = {"output0": with_objects(yolo(96), 3)}
    broken = {"output0": reference["output0"].copy()}
    broken["output0"][0, 4:] = 0
    assert kept(reference, broken).value < 0.9


def test_decisions_are_judged_beside_a_state_that_is_kept() -> None:
    reference = {
        "output": np.tile(np.array([0.1, 0.45, 0.95, 0.9], np.float32), 60)[:, None],
        "stateN": RNG.normal(size=(240, 2, 128)).astype(np.float32),
    }
    flipped = {"output": np.where(np.abs(reference["output"] - 0.45) < 0.01, 0.6, reference["output"])}
    flipped["stateN"] = reference["stateN"]
    figure = kept(reference, flipped, inputs=["input", "state"])
    assert figure.value == pytest.approx(0.75)


def test_a_changed_line_of_a_text_counts_though_few_steps_differ() -> None:
    reference = {"softmax": ctc_scores(40)}
    changed = {"softmax": reference["softmax"].copy()}
    for i in range(4):  # one step of a tenth of the lines
        changed["softmax"][i, 20] = softmax(np.eye(90, dtype=np.float32)[85 - i] * 20)
    assert output_roles.recognize(reference)[0].role == "ctc"
    assert kept(reference, changed).value == pytest.approx(0.9)


def test_ctc_removes_repeats_then_blanks() -> None:
    steps = np.eye(4, dtype=np.float32)[[[1, 1, 0, 1, 2, 2, 0, 3]]]
    assert ctc.texts(steps, blank=0) == [(1, 1, 2, 3)]


def test_an_embedding_with_small_errors_passes_and_a_collapsed_one_is_refused() -> None:
    latent = unit(200, 6) @ RNG.normal(size=(6, 384)).astype(np.float32)  # texts that have near neighbours
    reference = {"sentence_embedding": latent / np.linalg.norm(latent, axis=1, keepdims=True)}
    noise = RNG.normal(size=(200, 384)).astype(np.float32) * 0.0018  # cosine 0.9994
    near = {"sentence_embedding": reference["sentence_embedding"] + noise}
    figure = kept(reference, near)
    assert figure.value > 0.98 and figure.low > 0.95
    known = output_roles.recognize(reference)
    flat = {"sentence_embedding": np.repeat(reference["sentence_embedding"][:1], 200, 0)}
    assert "collapsed" in str(collapse.reason(known, reference, flat))
    assert kept(reference, flat).value < 0.5


def test_a_constant_answer_is_refused_whatever_its_average() -> None:
    probabilities = np.full((100, 1), 0.02, np.float32) + RNG.uniform(0, 0.01, (100, 1)).astype(np.float32)
    probabilities[:4] = 0.97  # 4 of 100 are positive
    reference, constant = {"p": probabilities}, {"p": np.full((100, 1), 0.02, np.float32)}
    assert np.mean(probabilities < 0.5) == 0.96 and kept(reference, constant).value == 0
    assert "collapsed" in str(collapse.reason(output_roles.recognize(reference), reference, constant))


def test_labels_count_those_that_are_set() -> None:
    reference = {"tags": np.zeros((100, 50), np.float32) + 0.01}
    reference["tags"][:30, 3] = 0.9
    nothing = {"tags": np.full((100, 50), 0.01, np.float32)}
    assert kept(reference, nothing).value == 0
    assert kept(reference, reference).value == 1


def test_the_background_of_token_classes_does_not_count() -> None:
    scores = np.zeros((30, 20, 5), np.float32)
    scores[..., 0] = 1
    scores[:, 3, 0], scores[:, 3, 2] = 0, 1  # an entity of one token
    broken = np.zeros_like(scores)
    broken[..., 0] = 1
    assert kept({"logits": scores}, {"logits": broken}).value == 0


def test_numbers_of_two_scales_are_judged_apart() -> None:
    large, small = RNG.normal(size=(100, 2)) * 1000, RNG.normal(size=(100, 2))
    reference = {"y": np.concatenate([large, small], 1).astype(np.float32)}
    broken = {"y": np.concatenate([large, np.zeros_like(small)], 1).astype(np.float32)}
    assert len(scales.one_scale_groups(reference["y"], broken["y"])) == 2
    assert kept(reference, broken, kind="regression").value == pytest.approx(0, abs=0.05)
    assert kept(reference, broken).value < 0.3


def test_equal_decisions_of_72_samples_show_95_percent_and_of_71_do_not() -> None:
    assert st.samples_needed(0.95) == 72
    for n, shown in ((72, True), (71, False)):
        reference = {"logits": logits(n, 5)}
        low = kept(reference, {"logits": reference["logits"] + np.float32(2e-6)}).low
        assert (low >= 0.95) is shown


@given(n=some.integers(1, 400), share=some.floats(0.5, 0.999))
def test_the_number_of_samples_needed_is_the_smallest_that_shows_the_share(n: int, share: float) -> None:
    needed = st.samples_needed(share)
    assert st.no_difference(needed) >= share - 1e-9
    assert needed == 1 or st.no_difference(needed - 1) < share + 1e-9


def test_vectors_agree_with_themselves_in_spite_of_rounding() -> None:
    known = roles.OutputRole("y", "vector", "")
    for seed in range(100):
        vectors = np.random.default_rng(seed).normal(size=(9, 6)).astype(np.float32)
        for measure in decisions.agree(known, {"y": vectors}, {"y": vectors}):
            assert measure.figure().value == 1


@settings(max_examples=25)
@given(
    role=some.sampled_from(["classes", "labels", "vector", "numbers", "steps", "mask", "unknown", "binary"]),
    seed=some.integers(0, 1000),
)
def test_every_output_agrees_with_itself_and_never_by_more_than_all(role: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = {"steps": (9, 5, 4), "mask": (9, 3, 4, 4)}.get(role, (9, 6))
    one, other = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    known = roles.OutputRole("y", role, "")
    for measure in decisions.agree(known, {"y": one}, {"y": one}):
        assert measure.figure().value == 1
    for measure in decisions.agree(known, {"y": one}, {"y": other}):
        figure = measure.figure()
        assert figure.value is not None and 0 <= figure.value <= 1
        assert figure.low is None or figure.low <= figure.value


def test_overlap_of_boxes() -> None:
    boxes = np.array([[0.0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6]])
    table = detections.overlaps(boxes[:1], boxes)
    assert table[0] == pytest.approx([1, 1 / 7, 0])


def test_overlapping_boxes_of_one_class_are_one_detection() -> None:
    outputs = {"boxes": np.array([[[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]])}
    outputs["scores"] = softmax(np.array([[[5.0, 0], [4, 0], [0, 5]]]))
    layout = detections.separate(outputs)
    assert layout is not None and not layout.centred
    boxes, _, classes = detections.find(outputs, layout, 0)
    assert len(boxes) == 2 and list(classes) == [0, 1]


def shuffled(outputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs dealt to the wrong samples."""
    return {name: np.roll(array, 1, axis=0) for name, array in outputs.items()}


@pytest.mark.parametrize(
    "outputs",
    [
        {"predicted_price": RNG.normal(160_000, 20_000, (200, 1)).astype(np.float32)},
        {"score": RNG.uniform(20, 90, (200, 1)).astype(np.float32)},
        {"pred": RNG.uniform(0, 0.3, (200, 4)).astype(np.float32)},
        {"p": RNG.uniform(0, 0.1, (200, 1)).astype(np.float32)},
        {"position": RNG.normal((48, 11), 4, (200, 2)).astype(np.float32)},
        {"forecast": RNG.uniform(-8, 8, (200, 24)).astype(np.float32)},
        {"pred": RNG.normal(0, 3, (200, 24, 7)).astype(np.float32)},
        {"kelvin": RNG.normal(300, 5, (200, 24, 1)).astype(np.float32)},
        {"landmarks": RNG.normal(100, 5, (200, 68, 2)).astype(np.float32)},
        {"output0": yolo(200)},
        {"output0": with_objects(yolo(200), 60).transpose(0, 2, 1)},
    ],
    ids=lambda outputs: next(iter(outputs)),
)
def test_outputs_of_other_samples_are_refused_and_small_errors_pass(outputs: dict[str, Any]) -> None:
    assert (kept(outputs, shuffled(outputs)).low or 0) < 0.9
    near = {name: array * np.float32(1 + 1e-5) for name, array in outputs.items()}
    assert (kept(outputs, near).low or 0) >= 0.95
    assert collapse.reason(output_roles.recognize(outputs), outputs, near) is None


def test_scores_without_objectness_are_told_from_those_with() -> None:
    """YOLOv8 transposed has none; YOLOv5's class scores are often large where there is no object."""
    eight = with_objects(yolo(9, channels=8), 9).transpose(0, 2, 1)
    layout = detections.joint("y", eight)
    assert (
        layout is not None and not layout.objectness and len(detections.find({"y": eight}, layout, 0)[1]) == 1
    )
    five = eight.copy()
    five[:, :, 5:] = RNG.uniform(0.2, 0.9, five[:, :, 5:].shape)
    layout = detections.joint("y", five)
    assert layout is not None and layout.objectness


def test_a_first_class_that_is_in_no_picture_is_no_objectness() -> None:
    """As NudeNet on portraits: 18 classes, of which the first has no score above 1e-4."""
    scores = RNG.uniform(0, 1e-3, (9, 18, 300)).astype(np.float32)
    scores[:, 0] *= 1e-2
    scores[:, 11, ::100] = 0.8
    boxes = RNG.uniform(10, 310, (9, 4, 300)).astype(np.float32)
    outputs = {"output0": np.concatenate([boxes, scores], 1)}
    layout = detections.joint("output0", outputs["output0"])
    assert layout is not None and not layout.objectness
    assert {*detections.find(outputs, layout, 0)[2]} == {11}


def rare(count: int, positive: int) -> Any:
    scores = np.tile(np.array([4, -4], np.float32), (count, 1))
    scores[:positive] = (-4, 4)
    return scores + RNG.normal(0, 0.1, (count, 2)).astype(np.float32)


def test_rare_decisions_that_are_lost_count_and_a_single_flip_of_many_does_not() -> None:
    scores = rare(500, 10)
    lost, one = scores.copy(), rare(500, 60)
    lost[:10] = lost[490:]
    assert kept({"logits": scores}, {"logits": lost}).value == 0
    flipped = one.copy()
    flipped[0] = one[499]
    figure = kept({"logits": one}, {"logits": flipped})
    assert figure.value > 0.98 and figure.low > 0.95
    ids = np.zeros(500, np.int64)
    ids[:12] = 3
    assert kept({"ids": ids}, {"ids": np.zeros_like(ids)}).value == 0


def test_objects_that_are_lost_in_few_masks_count() -> None:
    scores = np.zeros((100, 4, 16, 16), np.float32)
    scores[:, 0] = 1
    scores[:6, 0, 4:8, 4:8], scores[:6, 2, 4:8, 4:8] = 0, 1
    empty = np.zeros_like(scores)
    empty[:, 0] = 1
    assert kept({"seg_logits": scores}, {"seg_logits": empty}).value < 0.6


def test_the_background_class_is_no_detection() -> None:
    boxes = np.tile(np.array([0.1, 0.1, 0.5, 0.5]), (40, 100, 1))
    scores = softmax(np.tile(np.array([6.0, 0, 0]), (40, 100, 1)))
    scores[:, 3] = (0.02, 0.96, 0.02)
    nothing = softmax(np.tile(np.array([6.0, 0, 0]), (40, 100, 1)))
    reference = {"boxes": boxes, "scores": scores}
    assert kept(reference, {"boxes": boxes, "scores": nothing}).value == 0
    assert kept(reference, reference).value == 1


def test_what_is_constant_in_the_original_but_for_rounding_is_not_judged_by_its_noise() -> None:
    noise = RNG.normal(0, 1e-6, (200, 3)).astype(np.float32)
    reference, near = {"aux": 5 + noise}, {"aux": np.full((200, 3), 5, np.float32)}
    assert collapse.reason(output_roles.recognize(reference), reference, near) is None
    assert kept(reference, near).value > 0.95


def test_a_label_that_is_never_set_does_not_collapse() -> None:
    reference = {"tags": np.where(RNG.random((200, 6)) < 0.3, 0.97, 0.02).astype(np.float32)}
    reference["tags"][:, 2] = 1e-4 * RNG.random(200)
    rounded = {"tags": np.round(reference["tags"] * 255).astype(np.float32) / 255}
    assert collapse.reason(output_roles.recognize(reference), reference, rounded) is None
    assert kept(reference, rounded).value == 1
