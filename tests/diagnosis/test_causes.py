"""The table of causes: every condition is about a fact that there is, and judged as it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.core.errors import InputError
from edgehone.diagnosis import causes, diagnose, facts
from edgehone.diagnosis.facts import Fact
from edgehone.model import demo
from edgehone.model.inspect import inspect
from tests.finished import Finished


def test_every_entry_can_be_judged_and_filled(finished: Finished) -> None:
    known = {
        "bundle": facts.of_bundle(edgehone.read(finished.bundle)),
        "model": facts.of_model(inspect(demo.demo_model())),
    }
    for entry in causes.table():
        about = known[entry["about"]]
        assert entry["symptom"] in causes.SYMPTOMS
        assert {condition["fact"] for condition in entry["when"]} <= set(about)
        assert all({"above", "below", "is", "in"} & set(condition) for condition in entry["when"])
        judged = causes.judged(entry, about)
        assert judged.remedies and judged.source
        for remedy in judged.remedies:
            assert "{" not in f"{remedy.says}{remedy.command}{judged.says}"
            assert bool(remedy.settings) == bool(remedy.figure)


def test_every_symptom_has_causes_of_bundles() -> None:
    assert {one["symptom"] for one in causes.table() if one["about"] == "bundle"} == set(causes.SYMPTOMS)


@pytest.mark.parametrize(
    ("condition", "value", "held"),
    [
        ({"above": 2.0}, 3, True),
        ({"above": 2.0}, 2.0, False),
        ({"below": 1.0}, 0.5, True),
        ({"is": True}, True, True),
        ({"is": 1}, 2, False),
        ({"in": ["a", "b"]}, "b", True),
        ({"above": 2.0}, None, None),
    ],
)
def test_conditions(condition: dict[str, object], value: float | str | None, held: bool | None) -> None:
    assert causes.holds(condition, Fact(value, None if value is not None else "why")) is held


def test_one_broken_condition_excludes_whatever_is_not_known() -> None:
    entry: dict[str, Any] = {
        "name": "x", "symptom": "slow", "says": "{a}", "source": "s",
        "when": [{"fact": "a", "is": 1}, {"fact": "b", "above": 0}],
    }  # fmt: skip
    assert causes.judged(entry, {"a": Fact(2), "b": Fact(None, "?")}).found is False
    assert causes.judged(entry, {"a": Fact(1), "b": Fact(None, "?")}).found is None
    found = causes.judged(entry, {"a": Fact(1), "b": Fact(1.5)})
    assert found.found is True and found.says == "1" and found.evidence[1] == "b = 1.5 (condition: above 0)"


def test_a_bundle_of_another_machine_is_told(finished: Finished) -> None:
    bundle = edgehone.read(finished.bundle)
    device = {**bundle.decision.device, "fingerprint": "f" * 12, "simd": ["avx9"]}
    moved = edgehone.Bundle(bundle.path, bundle.manifest, replace(bundle.decision, device=device))
    found = {one.name for one in causes.judge("bundle", facts.of_bundle(moved)) if one.found}
    assert "another machine than it was honed for" in found
    if facts.of_bundle(moved)["simd_missing"].value is not None:
        assert "instructions missing" in found


def test_a_changed_file_is_found(spoiled: Path, finished: Finished) -> None:
    (spoiled / "reproduce.sh").write_text("# mine")
    made = diagnose(spoiled, "compatibility")
    assert [one.name for one in made.found] == ["files changed"]


@pytest.mark.parametrize(
    ("threads", "others", "processors", "found", "free"),
    [
        (2, 1.0, 2, True, 1),  # one of two processors is taken
        (2, 0.2, 2, False, 2),
        (1, 1.0, 2, False, 1),  # one thread finds the other processor
        (4, 2.0, 8, False, 6),
        (8, 3.1, 8, True, 5),
        (2, 9.0, 2, True, 1),  # there is always one
        (2, None, 2, None, None),
    ],
)
def test_threads_that_find_no_processor_of_their_own(
    threads: int, others: float | None, processors: int, found: bool | None, free: int | None
) -> None:
    (entry,) = (
        one for one in causes.table() if one["name"] == "threads share a processor with other programs"
    )
    judged = causes.judged(entry, {"threads": Fact(threads), **facts._crowding(threads, others, processors)})
    assert judged.found is found and judged.remedies[0].settings == {"threads": free}
    if found:
        assert f"runs {threads} threads" in judged.says and f"leave {free} of" in judged.says


def test_only_llama_cpp_is_told_of_crowded_threads(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "others_demand", lambda own: 64.0)
    known = {**facts.of_bundle(edgehone.read(finished.bundle)), "threads": Fact(2)}

    def told(backend: str) -> set[str]:
        judged = causes.judge("bundle", {**known, "backend": Fact(backend)}, "slow")
        return {one.name for one in judged if one.found}

    assert "threads share a processor with other programs" in told("llamacpp") - told("openvino")


@pytest.mark.parametrize(("others", "found"), [(0.2, False), (1.5, True), (None, None)])
def test_other_programs_take_the_processors(others: float | None, found: bool | None) -> None:
    (entry,) = (one for one in causes.table() if one["name"] == "other programs take the processors")
    assert causes.judged(entry, facts._crowding(2, others, 2)).found is found


def test_bad_words(finished: Finished) -> None:
    with pytest.raises(InputError, match="unknown symptom 'slwo'") as caught:
        diagnose(finished.bundle, "slwo")
    assert "did you mean 'slow'" in (caught.value.hint or "")
    with pytest.raises(InputError, match="no such bundle, model or log"):
        diagnose(finished.bundle / "nowhere")
