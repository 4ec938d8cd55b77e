"""Metrics that libraries compute, in their own environment: values known by hand, and labels that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.core.errors import EdgehoneError
from edgehone.evaluation import by_library, metrics, roles
from edgehone.execution.job import Input
from edgehone.worker import detections

pytestmark = pytest.mark.real
RNG = np.random.default_rng(3)


def written(folder: Path, array: Any) -> Input:
    """Write one output as `worker.score_graph` does."""
    folder.mkdir()
    np.save(folder / "0.npy", array)
    (folder / "outputs.json").write_text(json.dumps({"outputs": ["y"], "samples": len(array)}))
    return Input(folder, f"{folder}")


def compared(
    tmp_path: Path, metric: str, role: Any, labels: Any, *outputs: Any, **more: Any
) -> dict[str, Any]:
    """Return the figures of the second of `outputs`, compared with the first."""
    (tmp_path / "samples").mkdir()
    np.savez(tmp_path / "samples" / "samples.npz", y=labels, labels=labels)
    inputs = {
        "reference": written(tmp_path / "reference", outputs[0]),
        "candidate": written(tmp_path / "candidate", outputs[-1]),
        "samples": Input(tmp_path / "samples", f"{tmp_path}"),
    }
    judged = roles.OutputRole("y", role, "", more.pop("layout", None))
    options = {"alphabet": None, "on_progress": lambda what: None, **more}
    return by_library.figures(metrics.find(metric), judged, inputs, **options)


def one_hot(classes: Any, count: int) -> Any:
    return np.eye(count, dtype=np.float32)[classes]


def test_macro_f1(tmp_path: Path) -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2] * 10)
    picked = np.where(np.arange(80) % 8 == 0, 1, labels)  # a third of the class 0 is taken for 1
    found = compared(tmp_path, "f1", "classes", labels, one_hot(labels, 3), one_hot(picked, 3))
    expected = np.mean([2 * 20 / (20 + 30), 2 * 30 / (40 + 30), 1.0])
    assert found["f1"].value == pytest.approx(expected)
    kept = found["accuracy_kept"]
    assert kept.value == pytest.approx(expected) and kept.low < kept.value < kept.high and kept.n == 80


def test_auroc_and_average_precision_of_one_score(tmp_path: Path) -> None:
    labels = np.array([0, 0, 1, 1] * 20)
    scores = np.tile(np.array([0.1, 0.4, 0.35, 0.8]), 20)[:, None]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert compared(tmp_path / "a", "auroc", "binary", labels, scores)["auroc"].value == pytest.approx(0.75)
    found = compared(tmp_path / "b", "average_precision", "binary", labels, scores)
    assert found["average_precision"].value == pytest.approx(0.8333, abs=1e-3)
    assert found["accuracy_kept"].value == 1


def test_rank_correlation_of_pairs(tmp_path: Path) -> None:
    angles = np.linspace(0, np.pi / 2, 40)
    pairs = np.stack(
        [np.tile([1.0, 0.0], (40, 1)), np.stack([np.cos(angles), np.sin(angles)], 1)], 1
    ).reshape(80, 2)
    found = compared(tmp_path, "spearman", "vector", -angles, pairs)
    assert found["spearman"].value == pytest.approx(1)


def test_ndcg_of_groups(tmp_path: Path) -> None:
    groups = np.repeat(np.arange(20), 2)
    vectors = one_hot(groups, 20) + RNG.normal(0, 0.01, (40, 20))
    shuffled = RNG.permutation(vectors)
    found = compared(tmp_path, "ndcg", "vector", groups, vectors, shuffled)
    assert found["ndcg"].value < 0.6 and found["accuracy_kept"].value == pytest.approx(
        found["ndcg"].value, abs=0.01
    )


def test_error_rates_of_texts(tmp_path: Path) -> None:
    alphabet = "ab "
    wanted = ["ab ab", "ba"] * 8

    def steps(texts: list[str]) -> Any:
        classes = np.zeros((len(texts), 12), int)
        for i, text in enumerate(texts):
            for j, letter in enumerate(text):
                classes[i, 2 * j] = 1 + alphabet.index(letter)
        return one_hot(classes, 4)

    got = ["ab aa", "ba"] * 8
    (tmp_path / "cer").mkdir()
    (tmp_path / "wer").mkdir()
    (tmp_path / "ids").mkdir()
    options = {"alphabet": alphabet}
    found = compared(tmp_path / "cer", "cer", "ctc", np.array(wanted), steps(wanted), steps(got), **options)
    assert found["cer"].value == pytest.approx(1 / 7) and found["accuracy_kept"].value == pytest.approx(6 / 7)
    found = compared(tmp_path / "wer", "wer", "ctc", np.array(wanted), steps(wanted), steps(got), **options)
    assert found["wer"].value == pytest.approx(1 / 3)
    ids = np.array([[1 + alphabet.index(c) for c in text] + [-1] * (5 - len(text)) for text in wanted])
    assert compared(tmp_path / "ids", "cer", "ctc", ids, steps(wanted), steps(got))[
        "cer"
    ].value == pytest.approx(1 / 7)


def test_intersection_over_union_of_masks(tmp_path: Path) -> None:
    truth = np.zeros((10, 4, 4), int)
    truth[:, :2] = 1
    picked = np.zeros((10, 4, 4), int)
    picked[:, :1] = 1
    found = compared(
        tmp_path, "iou", "mask", truth, *(one_hot(m, 2).transpose(0, 3, 1, 2) for m in (truth, picked))
    )
    assert found["iou"].value == pytest.approx((4 / 8 + 8 / 12) / 2)


def test_mean_average_precision_of_boxes(tmp_path: Path) -> None:
    labels = np.full((12, 2, 5), -1.0)
    labels[:, 0] = (1, 10, 10, 50, 50)
    anchors = np.zeros((12, 6, 70), np.float32)
    anchors[:, :4, 3] = (30, 30, 40, 40)  # the centre and the size
    anchors[:, 5, 3] = 0.9
    missing = anchors.copy()
    missing[:6, 5, 3] = 0
    layout = detections.Layout("y", axis=1)
    found = compared(tmp_path, "map", "detections", labels, anchors, missing, layout=layout)
    assert found["map"].value == pytest.approx(0.5, abs=0.01)
    assert found["accuracy_kept"].value == pytest.approx(0.5, abs=0.01)


def test_labels_that_a_metric_does_not_accept_are_named(tmp_path: Path) -> None:
    with pytest.raises(EdgehoneError, match=r"map needs an output with boxes .* not \[12\]"):
        compared(tmp_path, "map", "classes", np.zeros(12), np.zeros((12, 3)))


def test_every_library_metric_has_a_function() -> None:
    from edgehone.worker import library_metrics

    assert set(library_metrics._METRICS) == set(metrics.LIBRARY)
