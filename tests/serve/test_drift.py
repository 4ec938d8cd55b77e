"""Drift of one served bundle, without a server: references, alarms, and what requests tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from edgehone.bundle.schema import DRIFT_REFERENCE
from edgehone.core.errors import InputError
from edgehone.drift import ReferenceBuilder, Sample
from edgehone.serve.drift import features
from edgehone.serve.drift.evaluated import Evaluated, read_evaluated
from edgehone.serve.drift.model_watch import EVALUATION, TRAFFIC, DriftRules, ModelWatch
from edgehone.serve.drift.samples import as_evaluated, samples_of, samples_of_all
from edgehone.serve.drift.told import told
from edgehone.serve.infer.tensor import Tensor
from edgehone.serve.observation import Observation
from tests.serve.drifting import NOTHING, RULES, evaluated, feed, images, observed, prompts, take


def test_the_first_traffic_of_a_language_model_becomes_the_reference_and_drift_raises_an_alarm() -> None:
    watch = ModelWatch("digest", NOTHING, RULES)
    stream = prompts(1)
    assert feed(watch, stream, 599) is None and watch.traffic is None and watch.collected == 599
    assert "599 of 600" in told(watch)["references"][TRAFFIC]["reason"]
    assert feed(watch, stream, 3000) is None
    assert watch.traffic is not None and watch.traffic.reference.samples == 600
    found = feed(watch, prompts(2, mean=80), 2000)
    assert found is not None and found < 400
    assert watch.alarm("inputs") and watch.alarm("any")
    said = told(watch)
    assert said["alarm"] and "prompts are longer" in said["summary"] and "first traffic" in said["summary"]
    assert said["requests"] == 599 + 3000 + found


def test_what_differs_from_the_evaluation_of_a_language_model_is_told_and_raises_no_alarm() -> None:
    builder = ReferenceBuilder()
    for one in take(prompts(3, low=5000, high=9000), 1000):
        builder.add(Sample(ids=one.ids[:8] if one.ids else None))
    watch = ModelWatch("digest", Evaluated(builder.build(), False, "cut from a text"), RULES)
    assert feed(watch, prompts(4), 1200) is None
    assert watch.traffic is not None and watch.traffic.alpha == RULES.alpha
    said = told(watch)["references"][EVALUATION]
    assert (
        not said["alarms"] and said["reason"] == "cut from a text" and "prompts are longer" in said["differs"]
    )
    assert set(watch.signals) == {TRAFFIC}


def test_a_graph_whose_traffic_is_like_its_evaluation_is_watched_against_both() -> None:
    watch = ModelWatch("digest", evaluated(), RULES)
    assert feed(watch, images(5), 3000) is None
    assert set(watch.signals) == {EVALUATION, TRAFFIC}
    assert watch.evaluation is not None and watch.traffic is not None
    assert watch.evaluation.alpha == watch.traffic.alpha == RULES.alpha / 2
    assert "latency" in watch.evidence and "evaluation_latency" not in watch.evidence
    assert "evaluation_features" in watch.evidence and "features" in watch.evidence


def test_traffic_that_differs_from_the_evaluation_of_a_graph_raises_an_alarm_and_never_becomes_the_reference() -> (
    None
):
    watch = ModelWatch("digest", evaluated(), DriftRules(requests=1000))
    found = feed(watch, images(6, gain=2.5), 900)
    assert found is not None and found < 600
    for one in take(images(7, gain=2.5), 2000):
        watch.observe([one])
    assert watch.traffic is None and "differ from the evaluation" in watch.refused
    assert watch.collected == 0
    assert "differ from the evaluation" in told(watch)["references"][TRAFFIC]["reason"]


def test_what_an_operator_approves_becomes_the_reference_whatever_the_evaluation_says() -> None:
    watch = ModelWatch("digest", evaluated(), RULES, approved="the new camera")
    assert feed(watch, images(8, gain=2.5), 1500) is None
    assert watch.traffic is not None and watch.traffic.alpha == RULES.alpha
    said = told(watch)
    assert said["approved"] == "the new camera" and said["references"][EVALUATION]["differs"]
    assert feed(watch, images(9), 1000) is not None  # back to the old camera


def test_labels_are_compared_with_the_accuracy_of_the_evaluation() -> None:
    watch = ModelWatch("digest", evaluated(correct=0.95), RULES)
    random = np.random.default_rng(4)
    for right in random.random(600) < 0.95:
        watch.label(bool(right))
    assert not watch.alarm("any")
    for right in random.random(1500) < 0.7:
        watch.label(bool(right))
    assert watch.alarm("performance") and "fewer answers are right" in told(watch)["summary"]


def test_first_traffic_that_tells_nothing_makes_no_reference() -> None:
    watch = ModelWatch("digest", NOTHING, RULES)
    for _ in range(700):
        watch.observe([Sample(failed=True)])
    assert watch.traffic is None and "make no reference" in watch.refused


def test_a_request_that_failed_by_the_clients_fault_tells_nothing_and_one_that_failed_by_the_servers_does() -> (
    None
):
    for status in (400, 404, 413, 422, 429, 499):
        assert samples_of(observed(status=status, ids=[1, 2]), {}) == []
    for status in (500, 503, 504):
        (one,) = samples_of(observed(status=status, ids=[1, 2], seconds=9.0, generated_tokens=3), {})
        assert one.failed and one.seconds is None and one.answer_length == 0


def test_each_sample_of_a_batch_is_one_and_the_times_are_told_once() -> None:
    x = np.arange(48, dtype=np.float32).reshape(12, 4)
    found = samples_of(
        observed(tensors={"x": Tensor.of("x", x)}, seconds=0.5, entropy=0.3, margin=0.2), {"x": 0}
    )
    assert len(found) == 8 and [one.seconds for one in found] == [0.5] + [None] * 7
    assert found[3].features == pytest.approx([13.5, np.std([12, 13, 14, 15]), 12, 15, 1])
    (alone,) = samples_of(observed(tensors={"x": Tensor.of("x", x[:1])}, entropy=0.3), {"x": 0})
    *batch, single = as_evaluated([found, [alone], [alone._replace(failed=True)]])
    assert len(batch) == 8 and all(one.entropy is None for one in batch)
    assert single.entropy == 0.3 and single.seconds is None and single.features == alone.features


def test_requests_taken_together_give_the_state_of_those_taken_one_by_one() -> None:
    """Also where a reference is made and where requests fail in between."""
    stream = (
        [[one] for one in take(images(8), 1500)] + [[]] + [[one] for one in take(images(9, gain=1.5), 900)]
    )
    stream[700] = [stream[700][0]._replace(failed=True)]
    alone, together = (ModelWatch("digest", evaluated(), DriftRules(requests=1000)) for _ in range(2))
    for one in stream:
        alone.observe(one)
    for start in range(0, len(stream), 77):
        together.observe_all(stream[start : start + 77])
    assert together.traffic is not None and alone.traffic is not None
    assert together.to_json() == alone.to_json() and together.alarm("any")
    assert together.traffic.reference.digest == alone.traffic.reference.digest


def test_samples_on_another_axis_and_texts_by_their_ids() -> None:
    x = np.arange(24, dtype=np.float32).reshape(3, 8)
    (first, *_) = features.describe({"x": x}, {"x": 1})
    assert first.features == pytest.approx([8, np.std([0, 8, 16]), 0, 16, 8])
    ids = np.array([[5, 6, 7, 0], [8, 9, 0, 0]])
    found = features.describe({"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)}, {})
    assert [one.ids for one in found] == [[5, 6, 7], [8, 9]] and found[0].features is None
    assert features.describe({"state": np.zeros(3)}, {"state": None}) == []
    assert features.names(["x", "input_ids"]) == (
        "x mean",
        "x deviation",
        "x smallest",
        "x largest",
        "x step",
    )


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)))
def test_any_array_is_described_without_an_error(array: Any) -> None:
    for one in features.describe({"x": array}, {}):
        assert one.features is not None and len(one.features) == len(features.MOMENTS)


def test_what_the_evaluation_knows_is_read_as_it_was_written(tmp_path: Path) -> None:
    before = evaluated()
    (tmp_path / DRIFT_REFERENCE).write_text(json.dumps(before.to_json()))
    after = read_evaluated(tmp_path)
    assert after.reference is not None and before.reference is not None
    assert after.reference.digest == before.reference.digest and after.features == before.features
    assert len(json.dumps(before.to_json())) < 1_000_000


def test_a_bundle_without_the_document_says_so(tmp_path: Path) -> None:
    assert read_evaluated(tmp_path).reference is None and "not certified" in read_evaluated(tmp_path).reason


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": "edgehone-evaluated/1", "reference": {}}']
)
def test_a_damaged_document_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / DRIFT_REFERENCE).write_text(content)
    with pytest.raises(InputError):
        read_evaluated(tmp_path)


def test_requests_together_give_the_samples_that_each_alone_gives() -> None:
    random = np.random.default_rng(3)

    def request(shape: tuple[int, ...], **more: Any) -> Observation:
        return observed(tensors={"x": Tensor.of("x", random.normal(size=shape))}, **more)

    seen = [
        request((1, 8)), observed(ids=[1, 2]), request((3, 8)), request((1, 8), status=400),
        request((1, 8), status=503),
        request((1, 4)), request((1, 8)), observed(tensors={"x": Tensor.of("x", np.zeros(3)[0])}), request((1, 0)),
    ]  # fmt: skip
    for axes in ({"x": 0}, {}, {"x": 1}, {"x": None}):
        together = samples_of_all(seen, axes)
        alone = [samples_of(one, axes) for one in seen]
        assert len(together) == len(seen)
        for mine, theirs in zip(together, alone, strict=True):
            assert [one._replace(features=None) for one in mine] == [
                one._replace(features=None) for one in theirs
            ]
            for one, other in zip(mine, theirs, strict=True):
                assert (one.features is None) == (other.features is None)
                assert one.features is None or one.features == pytest.approx(other.features, rel=1e-12)
