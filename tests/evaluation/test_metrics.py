"""Metrics by name, and invalid labels and functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgehone.core.errors import InputError
from edgehone.evaluation import metrics

SCORES = {"logits": np.array([[3.0, 1, 0], [0, 2, 1], [1, 1, 1], [0, 0, 9]])}
LABELS = np.array([0, 1, 0, 1])


def rows(name: str, outputs: metrics.Outputs, labels: metrics.Array) -> list[float]:
    metric = metrics.find(name)
    assert metric.rows is not None
    return [float(value) for value in metric.rows(outputs, labels)]


def whole(name: str, outputs: metrics.Outputs, labels: metrics.Array) -> float:
    metric = metrics.find(name)
    assert metric.whole is not None
    return metric.whole(outputs, labels)


def test_accuracy_counts_the_best_class_and_a_tie_is_not_right() -> None:
    assert rows("accuracy", SCORES, LABELS) == [1, 1, 0, 0]


def test_top_k_counts_the_label_among_the_k_best() -> None:
    assert rows("top2", SCORES, np.array([1, 2, 0, 0])) == [1, 1, 0, 0]
    assert rows("top3", SCORES, LABELS) == [1, 1, 1, 1]


def test_mse_and_cosine_are_by_sample() -> None:
    outputs = {"y": np.array([[1.0, 2], [3, 4]], np.float32)}
    assert rows("mse", outputs, np.array([[1.0, 0], [3, 4]])) == [2, 0]
    assert rows("cosine", outputs, np.array([[2.0, 4], [-3, -4]])) == pytest.approx([1, -1])


def test_accuracy_of_one_score_is_that_of_its_decision() -> None:
    labels = np.array([0, 1, 1, 0])
    assert rows("accuracy", {"p": np.array([[0.1], [0.9], [0.4], [0.6]])}, labels) == [1, 1, 0, 0]
    assert rows("accuracy", {"logit": np.array([-2.0, 3.0, -1.0, 1.0])}, labels) == [1, 1, 0, 0]
    with pytest.raises(InputError, match="the label 2 is out of range: the model has 2 classes"):
        metrics.check_labels("accuracy", {"p": np.array([[0.1], [0.9]])}, np.array([0, 2]))


def test_rmse_is_the_root_of_the_mean_of_the_squares() -> None:
    assert whole("rmse", {"y": np.array([[1.0], [3.0]])}, np.array([1.0, 1.0])) == pytest.approx(2**0.5)


@given(hnp.arrays(np.float32, (4, 3), elements=st.floats(-9, 9, width=32)))
def test_a_vector_agrees_with_itself_in_any_length(array: metrics.Array) -> None:
    assert metrics.cosine(array, array) == pytest.approx(np.ones(4), abs=1e-6)
    assert metrics.cosine(np.zeros((4, 3)), np.ones((4, 3))) == pytest.approx(np.zeros(4))


def test_an_unknown_name_gets_the_closest_suggestion() -> None:
    with pytest.raises(InputError, match="did you mean 'accuracy'"):
        metrics.find("acuracy")


@pytest.mark.parametrize(("labels", "what"), [([0, 3], "label 3 is out of range"), ([0, -1], "label -1")])
def test_labels_out_of_range_are_refused(labels: list[int], what: str) -> None:
    with pytest.raises(InputError, match=what):
        metrics.check_labels("accuracy", SCORES, np.array(labels))


def test_labels_of_another_kind_are_refused() -> None:
    with pytest.raises(InputError, match="integer labels"):
        metrics.check_labels("top5", SCORES, np.array([0.5]))
    with pytest.raises(InputError, match="no output has a score for each class"):
        metrics.check_labels("top2", {"y": np.ones(3)}, np.array([0]))
    with pytest.raises(InputError, match="labels' shape"):
        rows("mse", SCORES, np.ones((4, 7)))


OWN = """
def good(outputs, labels):
    return (outputs["logits"].argmax(1) == labels).mean()
def raises(outputs, labels):
    return outputs["nothing"]
def nan(outputs, labels):
    return float("nan")
def many(outputs, labels):
    return 1, 2
def leaves(outputs, labels):
    raise SystemExit(0)
"""


def test_a_users_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_for_a_test.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert whole("mine_for_a_test:good", SCORES, LABELS) == 0.75  # argmax takes the first of equal ones
    with pytest.raises(InputError, match="mine_for_a_test:raises raised KeyError: 'nothing'"):
        whole("mine_for_a_test:raises", SCORES, LABELS)
    for name, what in (
        ("nan", "returned nan"),
        ("many", "raised TypeError"),
        ("leaves", "raised SystemExit: 0"),
    ):
        with pytest.raises(InputError, match=what):
            whole(f"mine_for_a_test:{name}", SCORES, LABELS)
    with pytest.raises(InputError, match="cannot be loaded"):
        metrics.find("mine_for_a_test:missing")
    with pytest.raises(InputError, match="cannot be loaded"):
        metrics.find("no_such_module_here:function")
