"""Quality of a graph: paired figures with and without labels, and the files of the worker."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.core.errors import EdgehoneError, InputError
from edgehone.evaluation import agreement, output_roles, throughput
from edgehone.inputs.batches import Batches
from edgehone.worker import prepare_graph, requests, score_graph
from edgehone.worker import throughput as worker_throughput

RNG = np.random.default_rng(0)
LOGITS = {"logits": RNG.normal(size=(200, 5)).astype(np.float32)}
LABELS = LOGITS["logits"].argmax(1)
ROLES = output_roles.recognize(LOGITS)
FAKE = "fake_graph_backend"


def noisy(outputs: Mapping[str, Any], by: float) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {n: (a + by * rng.normal(size=a.shape)).astype(np.float32) for n, a in outputs.items()}


def test_the_original_agrees_with_itself() -> None:
    got = agreement.figures(LOGITS, LOGITS, ROLES)
    assert got["relative_error"].value == got["max_error"].value == got["kl_mean"].value == 0
    assert got["cosine"].value == pytest.approx(1)
    kept = got["accuracy_kept"]
    assert kept.value == 1 and kept.low is not None and 0.97 < kept.low < 1  # 200 samples prove no more
    assert got["perplexity"].reason == "the model is not a language model"


def test_a_little_noise_is_seen_and_passes_and_much_fails_the_parity_check() -> None:
    near, far = (agreement.figures(LOGITS, noisy(LOGITS, by), ROLES) for by in (1e-4, 0.1))
    assert agreement.parity_check(near, {"relative_error_max": 2e-3}).ok
    said = agreement.parity_check(far, {"relative_error_max": 2e-3})
    assert not said.ok and "differ by" in said.reason
    assert far["kl_mean"].value is not None and near["kl_mean"].value is not None
    assert far["kl_mean"].value > near["kl_mean"].value


def test_with_labels_the_metric_and_the_share_that_is_kept() -> None:
    own = {"logits": LOGITS["logits"].copy()}
    own["logits"][:20] = -own["logits"][:20]
    got = agreement.figures(LOGITS, own, ROLES, LABELS, "accuracy")
    assert got["accuracy"].value == pytest.approx(0.9, abs=0.02)
    kept = got["accuracy_kept"]
    assert kept.value == pytest.approx(got["accuracy"].value)
    assert kept.low is not None and kept.high is not None and kept.low < 0.9 < kept.high


def test_a_lower_metric_is_turned_over() -> None:
    truth = RNG.normal(size=(200, 1))
    reference, own = ({"y": (truth + by * RNG.normal(size=(200, 1))).astype(np.float32)} for by in (0.1, 0.2))
    kept = agreement.figures(reference, own, output_roles.recognize(reference), truth[:, 0], "mse")[
        "accuracy_kept"
    ]
    assert kept.value == pytest.approx(0.25, rel=0.5)


def test_a_metric_of_all_samples_gets_its_interval_by_resampling() -> None:
    outputs, labels = {"y": LOGITS["logits"][:, :1]}, LOGITS["logits"][:, 0] + 0.5
    known = output_roles.recognize(outputs)
    got = agreement.figures(outputs, noisy(outputs, 0.3), known, labels, "rmse")
    for figure in (got["rmse"], got["accuracy_kept"]):
        assert figure.value is not None and figure.low is not None and figure.high is not None
        assert figure.low < figure.value < figure.high
    assert got["accuracy_kept"].value == pytest.approx(0.5 / float(got["rmse"].value or 0), rel=1e-3)
    assert agreement.figures(outputs, outputs, known, labels, "rmse")["accuracy_kept"].value == 1


def test_unrecognized_outputs_are_judged_by_their_relative_error() -> None:
    # A generator of its own: the draws do not depend on which tests ran before in this process.
    vectors = {"v": np.random.default_rng(2).normal(size=(50, 4, 4)).astype(np.float32)}
    got = agreement.figures(vectors, noisy(vectors, 0.1), output_roles.recognize(vectors))
    assert got["same_top"].reason == "no output is a classification"
    # The one is a mean over the samples, the other a ratio of sums.
    assert got["accuracy_kept"].value == pytest.approx(1 - float(got["relative_error"].value or 0), abs=5e-3)


def test_probabilities_are_taken_as_such() -> None:
    odds = np.exp(LOGITS["logits"])
    probabilities = {"p": odds / odds.sum(1, keepdims=True)}
    other = {"p": np.roll(probabilities["p"], 1, axis=1)}
    p, q = probabilities["p"].astype(float), other["p"].astype(float)
    expected = (p * np.log(p / q)).sum(1).mean()
    assert agreement.figures(probabilities, other, output_roles.recognize(probabilities))[
        "kl_mean"
    ].value == pytest.approx(expected, rel=1e-4)


def test_outputs_of_another_shape_are_an_error() -> None:
    with pytest.raises(EdgehoneError, match=r"shape \[200, 4\], the original's \[200, 5\]"):
        agreement.figures(LOGITS, {"logits": LOGITS["logits"][:, :4]}, ROLES)


class _Session:
    """Doubles; NaN where the first number is negative; refuses batches over 8."""

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        x = feeds["x"]
        if len(x) > 8:
            raise ValueError("the batch is at most 8")
        return {"y": np.where(x < 0, np.nan, 2 * x), "unused": x}

    def close(self) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[None]:
    module = types.ModuleType(FAKE)
    module.open_graph = lambda artifact, settings, job: _Session()  # type: ignore[attr-defined]
    sys.modules[FAKE] = module
    yield
    del sys.modules[FAKE]


def job(tmp_path: Path, args: dict[str, Any], **inputs: Path) -> WorkerJob:
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    out.mkdir()
    folders = {"artifact": tmp_path, **inputs}
    return WorkerJob({"backend": FAKE, "settings": {}, **args}, folders, out, None, 1, lambda f, w: None)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    np.savez(folder / "samples.npz", x=np.arange(1, 11, dtype=np.float32)[:, None], labels=np.arange(10))
    return folder


def test_outputs_of_all_samples_are_kept_the_last_batch_cut(
    fake: None, tmp_path: Path, samples: Path
) -> None:
    done = job(tmp_path, {"batch": 4}, samples=samples)
    facts = score_graph.outputs(done)
    assert facts == {"outputs": ["y", "unused"], "samples": 10, "differs": None}
    assert agreement.read(done.out)["y"][:, 0] == pytest.approx(2.0 * np.arange(1, 11))
    labels = agreement.labels_of(samples, 10)
    assert labels is not None and list(labels) == list(range(10))
    assert not labels.flags.writeable  # a metric of the user's own gets them
    again = job(tmp_path, {"batch": 1}, samples=samples, reference=done.out)
    assert score_graph.outputs(again) == facts


def test_an_original_that_differs_from_itself_is_told() -> None:
    y = np.linspace(-3, 3, 12, dtype=np.float32).reshape(4, 3)
    noise = np.random.default_rng(0).normal(size=y.shape).astype(np.float32)
    assert score_graph.difference({"y": y}, {"y": y * np.float32(1 + 1e-6)}) is None
    assert "'y' differs by up to" in str(score_graph.difference({"y": y}, {"y": y + 0.02 * noise}))
    assert "100% of the entries of the output 'ids'" in str(
        score_graph.difference({"ids": np.arange(4)}, {"ids": np.arange(4) + 1})
    )
    half = y.astype(np.float16)
    assert score_graph.difference({"y": half}, {"y": half * np.float16(1.001)}) is None
    assert score_graph.difference({"n": np.zeros(3)}, {"n": np.zeros(3)}) is None


def test_infinite_outputs_are_named_by_sample(fake: None, tmp_path: Path, samples: Path) -> None:
    np.savez(samples / "samples.npz", x=np.array([[1.0], [2], [-3], [4]], np.float32))
    with pytest.raises(EdgehoneError, match="'y' is NaN or infinite for evaluation sample 2"):
        score_graph.outputs(job(tmp_path, {"batch": 2}, samples=samples))


def test_an_output_that_lacks_is_named(fake: None, tmp_path: Path, samples: Path) -> None:
    reference = tmp_path / "reference"
    reference.mkdir()
    (reference / "outputs.json").write_text(json.dumps({"outputs": ["z"], "samples": 10}))
    with pytest.raises(EdgehoneError, match="'z' is not among y, unused"):
        score_graph.outputs(job(tmp_path, {"batch": 2}, samples=samples, reference=reference))


def test_throughput_is_that_of_the_best_batch_and_refused_ones_are_told(
    fake: None, tmp_path: Path, samples: Path
) -> None:
    facts = worker_throughput.sweep(job(tmp_path, {"seconds": 0.01}, samples=samples))
    assert facts["best"] in (1, 2, 4, 8)
    assert facts["failed"][16] == "ValueError: the batch is at most 8"
    figure = throughput.figure(facts)
    assert figure.value is not None and figure.value > 0 and figure.unit == "samples/s"
    assert "batch 2: why" in (throughput.figure({"again": [], "failed": {2: "why"}}).reason or "")


def test_a_request_is_a_batch_of_other_samples_each_time(fake: None, tmp_path: Path, samples: Path) -> None:
    asked = requests.open_requests(job(tmp_path, {"batch": 3}, samples=samples))
    (request,) = asked.answer()
    assert set(request) == {"total"}
    asked.close()
    batches = Batches.read(samples)
    assert [int(v) for v in batches.around(8, 3)["x"][:, 0]] == [9, 10, 1]


def test_texts_are_cut_to_the_longest_of_the_batch_and_averaged_over_their_own_tokens(tmp_path: Path) -> None:
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    np.savez(tmp_path / "samples.npz", input_ids=mask * 7, attention_mask=mask)
    batches = Batches.read(tmp_path)
    assert batches.around(0, 2)["input_ids"].shape == (2, 2)
    assert batches.around(0, 3)["attention_mask"].shape == (3, 4)
    feeds = batches.around(0, 2)
    hidden = np.array([[[1.0], [3]], [[5], [99]]])
    pooled = score_graph._pooled({"last_hidden_state": hidden}, feeds)["last_hidden_state"]
    assert pooled == pytest.approx(np.array([[2.0], [5]]))


def prepared(tmp_path: Path, evaluation: dict[str, Any], calibration: dict[str, Any] | None = None) -> Any:
    np.savez(tmp_path / "evaluation.npz", **evaluation)
    given = {"model": tmp_path, "evaluation": tmp_path / "evaluation.npz"}
    if calibration is not None:
        np.savez(tmp_path / "calibration.npz", **calibration)
        given["calibration"] = tmp_path / "calibration.npz"
    inputs = [{"name": "x", "dtype": "float32", "shape": ["n", 2]}]
    asked = job(
        tmp_path,
        {"inputs": inputs, "axes": {}, "task": "graph", "most": 40, "needed": 0, "digests": {}},
        **given,
    )
    return prepare_graph.prepare(asked), asked.out


def test_a_part_is_set_aside_for_calibration_and_none_is_in_both(tmp_path: Path) -> None:
    x = np.random.default_rng(2).random((80, 2))
    facts, out = prepared(tmp_path, {"x": x, "labels": np.arange(80)})
    assert (facts["samples"], facts["calibration"], facts["labelled"], facts["pairs"]) == (
        40,
        20,
        True,
        False,
    )
    one, other = (Batches.read(out / name) for name in ("evaluation", "calibration"))
    assert one.labels is not None and other.labels is not None
    assert not {*one.labels} & {*other.labels}
    assert one.arrays["x"].dtype == np.float32
    assert one.arrays["x"] == pytest.approx(x[one.labels].astype(np.float32))


def test_pairs_stay_together(tmp_path: Path) -> None:
    x = np.repeat(np.arange(48.0), 2)[:, None] * np.ones((1, 2))
    facts, out = prepared(tmp_path, {"x": x, "labels": np.arange(48.0)})
    assert facts["pairs"]
    kept = Batches.read(out / "evaluation")
    assert kept.labels is not None
    assert (kept.arrays["x"][0::2, 0] == kept.labels).all() and (
        kept.arrays["x"][1::2, 0] == kept.labels
    ).all()


def test_too_few_samples_to_set_some_aside(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too few to use some of them"):
        prepared(tmp_path, {"x": np.random.default_rng(0).random((9, 2))})


def test_calibration_samples_must_not_be_evaluation_samples(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((20, 2))
    with pytest.raises(InputError, match="also evaluation samples"):
        prepared(tmp_path, {"x": x}, {"x": x[:10]})
