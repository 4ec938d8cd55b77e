"""The state of drift on the disk: restarts, other bundles, damage, a full disk; and its metrics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.serve.drift import store
from edgehone.serve.drift.model_watch import ModelWatch
from edgehone.serve.drift.observer import DriftObserver
from edgehone.serve.drift.store import Snapshot, Store
from edgehone.serve.observation import Feedback, Observation
from tests.serve.drifting import NOTHING, RULES, evaluated, feed, images, observed, prompts, served, take


def stored(tmp_path: Path, watch: ModelWatch, model: str = "m") -> Store:
    """Write a state, with the reference of its traffic."""
    found = Store(tmp_path)
    found.write(
        Snapshot(model, watch.to_json(), watch.traffic.reference.to_json() if watch.traffic else None)
    )
    return found


def test_a_restarted_server_goes_on_with_the_same_evidence(tmp_path: Path) -> None:
    watch = ModelWatch("digest", evaluated(), RULES)
    stream = images(11)
    feed(watch, stream, 1001)
    after = stored(tmp_path, watch).read("m", "digest", evaluated(), RULES)
    assert after is not None and after.requests == 1001
    drifted = [*take(images(12, gain=1.6), 300)]
    for one in drifted:
        watch.observe([one])
        after.observe([one])
    assert {name: one.log10 for name, one in after.evidence.items()} == {
        name: pytest.approx(one.log10) for name, one in watch.evidence.items()
    }
    assert watch.alarm("any") and after.alarm("any")


def test_another_bundle_begins_anew_and_the_earlier_one_is_continued(tmp_path: Path) -> None:
    watch = ModelWatch("digest", NOTHING, RULES)
    feed(watch, prompts(1), 700)
    found = stored(tmp_path, watch)
    assert (
        found.read("m", "other", NOTHING, RULES) is None and found.read("n", "digest", NOTHING, RULES) is None
    )
    for number in range(30):
        stored(tmp_path, ModelWatch(f"later-{number}", NOTHING, RULES))
    assert len([*(tmp_path / store.FOLDER).glob("*.state.json")]) == 16
    assert len([*(tmp_path / store.FOLDER).iterdir()]) <= 17


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "no reference"])
def test_a_damaged_state_is_said_and_begins_anew(tmp_path: Path, damage: str) -> None:
    watch = ModelWatch("digest", NOTHING, RULES)
    feed(watch, prompts(1), 700)
    found = stored(tmp_path, watch)
    (state,) = found.folder.glob("*.state.json")
    (reference,) = found.folder.glob("*.reference.json")
    if damage == "no reference":
        reference.unlink()
    else:
        state.write_text({"cut": state.read_text()[:100], "empty": "", "other": "{}"}[damage])
    said: list[str] = []
    observer = observer_of(tmp_path, said)
    assert observer.about("m") is not None and observer._watched["m"].watch.requests == 0
    assert len(said) == 1 and "begins anew" in said[0]


def observer_of(tmp_path: Path, said: list[str], models: dict[str, Any] | None = None) -> DriftObserver:
    return DriftObserver({"m": served()} if models is None else models, tmp_path, RULES, said.append)


def values(observer: DriftObserver, name: str) -> dict[tuple[str, ...], float]:
    """Return a metric's values by its labels."""
    (found,) = [one for one in observer.collect() if one.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in found.samples}


def test_metrics_tell_the_evidence_and_the_alarms_of_each_model(tmp_path: Path) -> None:
    said: list[str] = []
    observer = observer_of(tmp_path, said)
    assert values(observer, "edgehone_drift_alarm")[("m", "any")] == 0
    stream = prompts(1)
    for one in take(stream, 700):
        observer.observe(observed(ids=one.ids, seconds=one.seconds))
    assert values(observer, "edgehone_drift_requests")[("m",)] == 700
    assert values(observer, "edgehone_drift_reference_samples")[("m",)] == 600
    for one in take(prompts(2, low=5000, high=9000), 600):
        observer.observe(observed(ids=one.ids, seconds=one.seconds))
    alarms = values(observer, "edgehone_drift_alarm")
    assert alarms[("m", "any")] == alarms[("m", "inputs")] == 1 and alarms[("m", "performance")] == 0
    assert values(observer, "edgehone_drift_log10_evidence")[("m", "tokens")] > 3
    observer.observe(Observation(at=0, model="gone", status=200, ids=[1]))
    observer.feedback(Feedback(id="1", model="gone", correct=True))
    observer.end()
    assert observer_of(tmp_path, said)._watched == {} and said == []
    again = observer_of(tmp_path, said)
    assert values(again, "edgehone_drift_alarm")[("m", "inputs")] == 1


def test_an_operator_begins_anew(tmp_path: Path) -> None:
    observer = observer_of(tmp_path, [])
    for one in take(prompts(1), 700):
        observer.observe(observed(ids=one.ids))
    observer.approve("m", "a new campaign")
    observer.end()
    again = observer_of(tmp_path, [])
    about = again.about("m")
    assert about is not None and about["approved"] == "a new campaign" and about["requests"] == 0
    with pytest.raises(KeyError):
        observer.approve("other", "why")


def test_a_replaced_bundle_is_watched_anew(tmp_path: Path) -> None:
    models = {"m": served()}
    observer = observer_of(tmp_path, [], models)
    for one in take(prompts(1), 50):
        observer.observe(observed(ids=one.ids))
    models["m"] = served("another")
    observer.observe(observed(ids=[1, 2, 3]))
    assert observer._watched["m"].watch.requests == 1
    del models["m"]
    assert observer.about("m") is None and not [*observer.collect()][2].samples


def test_a_full_disk_is_said_once_and_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    observer = observer_of(tmp_path, said)
    stream = prompts(1)
    for one in take(stream, 650):
        observer.observe(observed(ids=one.ids))
    observer.end()
    before = {path.name: path.read_bytes() for path in (tmp_path / store.FOLDER).iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for _ in range(3):
            observer.observe(observed(ids=next(stream).ids))
            observer.end()
    assert len(said) == 1 and "No space left" in said[0]
    about = observer.about("m")
    assert about is not None and "No space left" in about["not_written"]
    assert {path.name: path.read_bytes() for path in (tmp_path / store.FOLDER).iterdir()} == before
    observer.end()
    about = observer.about("m")
    assert about is not None and about["not_written"] is None


@given(st.binary(max_size=200))
def test_no_bytes_in_the_place_of_a_state_end_the_server(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        found = Store(Path(folder))
        found.folder.mkdir()
        found._base("m", "digest").with_name(found._base("m", "digest").name + ".state.json").write_bytes(
            content
        )
        observer = observer_of(Path(folder), [])
        assert observer.about("m") is not None
