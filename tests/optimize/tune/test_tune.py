"""Runtime settings of the chosen artifact on the null backend: one gains, one costs, one fails, one spoils outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone import bundle
from edgehone.backends.base import Recipe, TunableSetting
from edgehone.backends.null import backend
from edgehone.decision.decision import Candidate
from edgehone.execution.threads import threads_of
from edgehone.inference.run_bundle import generate
from edgehone.optimize import context
from edgehone.optimize.search import history
from edgehone.optimize.search.clock import Clock
from edgehone.optimize.trial import Trial
from edgehone.optimize.tune import tune
from edgehone.report.explain import explanation
from tests.tiny import TINY


@pytest.fixture(autouse=True)
def one_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact one, and one that is chosen."""
    every = backend.recipes
    monkeypatch.setattr(
        backend, "recipes", lambda model: [r for r in every(model) if r.name in ("f32", "q8")]
    )


def search(model: Path, config: Path, **more: object) -> edgehone.Decision:
    asked = {"workload": "tiny", "effort": "quick", "backends": ["null"], "time": 600, **more}
    return edgehone.optimize(model, config_file=config, **asked)  # type: ignore[arg-type]


def tried(candidate: Candidate) -> dict[str, dict[str, object]]:
    """What was tried first, by its settings; what was confirmed comes after."""
    looks = [one for one in candidate.facts["tuning"] if "confirmed" not in one]
    return {json.dumps(one["settings"]): one for one in looks}


def test_what_gains_is_confirmed_and_takes_the_place_of_the_chosen(
    own_home: Path, null_model: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    found = search(null_model, config, out=out)
    assert found.chosen == "null/q8+tuned"
    tuned, plain = found.candidate("null/q8+tuned"), found.candidate("null/q8")
    assert tuned.recipe["settings"] == {"hurry": 4}
    assert tuned.bytes == plain.bytes
    latencies = [c.figure("workload_latency_ms").value for c in (tuned, plain)]
    assert latencies[0] is not None and latencies[1] is not None and latencies[0] < 0.5 * latencies[1]
    # Proven and measured for itself, not taken over from the plain one.
    assert tuned.figure("kl_mean").value == plain.figure("kl_mean").value
    assert tuned.figure("peak_memory_bytes").value is not None
    assert "null/q8+tuned" in plain.facts["raced_out"]

    told = tried(tuned)
    assert told['{"hurry": 0.5}']["reason"] and "no gain" in str(told['{"hurry": 0.5}']["reason"])
    assert told['{"stumble": true}']["status"] == "failed"
    # Ten times as fast, and out by its outputs before it ran.
    coarse = told['{"coarse": true}']
    assert coarse["status"] == "skipped" and coarse["latency_ms"] is None
    assert "cannot pass accuracy_kept" in str(coarse["reason"])
    [confirmed] = [one for one in tuned.facts["tuning"] if one.get("confirmed")]
    assert confirmed["low"] > 0

    [study] = history.studies()
    kept = study.trials["null/q8[ballast_mb=64]"]
    assert (kept.figures["peak_memory_bytes"].value or 0) > 0 and kept.facts["tuned_from"] == "null/q8"
    assert {"null/q8[hurry=0.5]", "null/q8[stumble=True]", "null/q8+tuned"} <= set(study.trials)

    assert "null/q8+tuned" in explanation(found) and "hurry = 4" in explanation(found)
    made = bundle.read(out)
    assert made.manifest.recipe["settings"] == {"hurry": 4}
    assert generate(made, "Once", 4, quiet=True)["tokens"] == 4

    done = {path.name for path in own_home.glob("store/jobs/*")}
    again = search(null_model, config)
    assert again.chosen == found.chosen
    assert {path.name for path in own_home.glob("store/jobs/*")} == done


def test_what_does_not_gain_leaves_the_recipe_as_it_is(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "tunable_settings", lambda *_: [TunableSetting("hurry", (0.25,), default=1)])
    found = search(null_model, config)
    assert found.chosen == "null/q8"
    [one] = found.candidate("null/q8").facts["tuning"]
    assert one["settings"] == {"hurry": 0.25} and one["ahead"] < 0


@pytest.mark.whole
def test_a_quick_run_without_a_time_searches_none_and_a_deeper_one_does(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "tunable_settings", lambda *_: [TunableSetting("hurry", (4,), default=1)])
    quick = search(null_model, config, time=None)
    assert quick.chosen == "null/q8" and "tuning" not in quick.candidate("null/q8").facts
    assert context.effort_settings("quick").tuning == 0
    granted = {effort: context.effort_settings(effort).tuning for effort in ("normal", "thorough")}
    assert 0 < granted["normal"] < granted["thorough"]
    config.write_text(TINY.replace("[efforts.quick]", "[efforts.quick]\ntuning = 60.0"))
    assert search(null_model, config, time=None).chosen == "null/q8+tuned"


def test_settings_that_could_gain_nothing_are_not_searched(
    own_home: Path, null_model: Path, config: Path
) -> None:
    found = search(null_model, config, weights="size=1")
    assert (
        "has no settings that affect the weighted objectives"
        in found.candidate(str(found.chosen)).facts["untuned"]
    )


def test_where_more_rounds_move_the_choice_the_new_one_is_searched_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[str] = []

    def once(_: Any, __: Any, chosen: Trial, *more: Any, **others: Any) -> list[Trial]:
        searched.append(chosen.recipe.name)
        chosen.facts["tuning"] = []
        return []

    nothing: Any = None
    for leaders, expected in (("aa", ["a"]), ("ab", ["a", "b"]), ("abc", ["a", "b"])):
        trials = {name: Trial(Recipe("null", name)) for name in leaders}
        order = iter(leaders)
        monkeypatch.setattr(tune, "chosen_trial", lambda *_, order=order, trials=trials: trials[next(order)])
        monkeypatch.setattr(tune, "_tune", once)
        assert tune.tune(nothing, nothing, [], nothing, {}, clock=Clock(60), study=nothing) == []
        assert searched == expected
        searched.clear()


def test_a_session_has_the_threads_that_its_settings_name(own_home: Path) -> None:
    machine = edgehone.detect()
    assert threads_of({}, machine) == machine.threads
    assert threads_of({"threads": 1}, machine) == 1
    # A bundle that was tuned on a larger machine.
    assert threads_of({"threads": 10_000}, machine) == machine.threads
