"""Recognition of what each output decides, on outputs shaped as those of public models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgehone.core.errors import InputError
from edgehone.evaluation import output_roles, roles

RNG = np.random.default_rng(0)


def softmax(x: Any) -> Any:
    odds = np.exp(x - x.max(-1, keepdims=True))
    return (odds / odds.sum(-1, keepdims=True)).astype(np.float32)


def logits(n: int, classes: int, confidence: float = 8.0) -> Any:
    """Logits of a trained classifier: one entry stands out."""
    x = RNG.normal(size=(n, classes))
    x[np.arange(n), RNG.integers(0, classes, n)] += confidence
    return x.astype(np.float32)


def yolo(n: int = 12, channels: int = 22, anchors: int = 300) -> Any:
    """Boxes of 0 to 320 before scores of 0 to 1, as YOLOv8's export [n, 4 + classes, anchors]."""
    x = np.concatenate(
        [RNG.uniform(10, 310, (n, 4, anchors)), RNG.uniform(0, 0.01, (n, channels - 4, anchors))], axis=1
    )
    return x.astype(np.float32)


def sure(*shape: int) -> Any:
    """Probabilities of decisions: near 0 or near 1."""
    return np.where(RNG.random(shape) < 0.3, 0.97, 0.02).astype(np.float32) + RNG.uniform(
        0, 0.02, shape
    ).astype(np.float32)


def unit(n: int, width: int) -> Any:
    x = RNG.normal(size=(n, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def ctc_scores(n: int = 10, steps: int = 40, classes: int = 90) -> Any:
    """Scores of an OCR recognizer: the blank in most steps."""
    x = RNG.normal(size=(n, steps, classes))
    picked = np.where(RNG.random((n, steps)) < 0.7, 0, RNG.integers(1, classes, (n, steps)))
    np.put_along_axis(x, picked[..., None], 12.0, 2)
    return softmax(x)


@pytest.mark.parametrize(
    ("outputs", "role"),
    [
        ({"target_label": softmax(logits(50, 200))}, "classes"),
        ({"output": logits(50, 10)}, "classes"),
        ({"logits": RNG.normal(size=(50, 5)).astype(np.float32)}, "classes"),
        ({"tags": sure(50, 30).astype(np.float32)}, "labels"),
        ({"p": sure(50, 1)}, "binary"),
        ({"speech": sure(50)}, "binary"),
        ({"price": 1000 * RNG.uniform(size=(50, 1)).astype(np.float32)}, "numbers"),
        ({"sentence_embedding": RNG.normal(size=(50, 384)).astype(np.float32)}, "vector"),
        ({"out": RNG.normal(size=(50, 384)).astype(np.float32)}, "vector"),
        ({"683": unit(50, 128)}, "vector"),
        ({"output0": yolo()}, "detections"),
        ({"softmax_11.tmp_0": ctc_scores()}, "ctc"),
        ({"logits": RNG.normal(size=(20, 16, 9)).astype(np.float32)}, "steps"),
        ({"seg_logits": RNG.normal(size=(4, 21, 16, 16)).astype(np.float32)}, "mask"),
        ({"sr": RNG.normal(size=(4, 3, 16, 16)).astype(np.float32)}, "numbers"),
        ({"label": RNG.integers(0, 9, 50)}, "ids"),
        ({"y": RNG.normal(size=(50, 3)).astype(np.float32)}, "unknown"),
        ({"points": RNG.uniform(size=(50, 10)).astype(np.float32)}, "unknown"),
        ({"points": RNG.uniform(0, 320, size=(50, 10)).astype(np.float32)}, "unknown"),
        ({"quality": RNG.uniform(size=(50, 1)).astype(np.float32)}, "unknown"),
    ],
)
def test_the_role_is_recognized(outputs: dict[str, Any], role: str) -> None:
    (found,) = output_roles.recognize(outputs)
    assert found.role == role, found.why


def test_a_state_is_one_only_if_an_input_is_too() -> None:
    outputs = {"output": sure(9, 1), "stateN": RNG.normal(size=(9, 2, 4))}
    assert [one.role for one in output_roles.recognize(outputs, inputs=["input", "state", "sr"])] == [
        "binary",
        "state",
    ]
    hidden = {"last_hidden_state": RNG.normal(size=(9, 384)), "pooler_output": RNG.normal(size=(9, 384))}
    assert [one.role for one in output_roles.recognize(hidden, inputs=["input_ids"])] == ["vector", "vector"]


def test_boxes_and_scores_in_two_outputs_share_a_role() -> None:
    outputs = {
        "boxes": RNG.uniform(size=(9, 50, 4)),
        "scores": RNG.uniform(size=(9, 50, 3)),
        "time": sure(9),
    }
    found = output_roles.recognize(outputs)
    assert [(one.name, one.role) for one in found] == [("boxes", "detections"), ("time", "binary")]
    assert found[0].layout is not None and found[0].layout.scores == "scores"


def test_the_task_kind_overrides_and_one_that_fits_nothing_is_refused() -> None:
    outputs = {"output": logits(50, 10)}
    assert output_roles.recognize(outputs, kind="embedding")[0].role == "vector"
    with pytest.raises(InputError, match=r"\(detection\): no output can be judged .* output \[samples, 10\]"):
        output_roles.recognize(outputs, kind="detection")
    with pytest.raises(InputError, match="unknown task kind 'detections'; did you mean 'detection'"):
        roles.check("detections")


def test_every_role_has_a_meaning_and_every_kind_a_role() -> None:
    assert set(roles.TASK_KINDS.values()) <= set(roles.MEANINGS)
