"""A search on the null backend: within its time, resumed, constrained, and what it says when it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import edgehone
from edgehone.backends.base import Recipe
from edgehone.backends.null import backend
from edgehone.backends.null.table import VOCABULARY
from edgehone.core.errors import EdgehoneError, InputError
from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate
from edgehone.execution.database import open_database
from edgehone.inputs.texts import shipped
from edgehone.inputs.workload import OBJECTIVES
from edgehone.optimize.search import history
from edgehone.optimize.search.clock import Clock, seconds_of
from edgehone.optimize.search.search import losses

# The same table twice, once tuned on a text: which of them is faster is chance.
EIGHT = ("null/q8", "null/q8+text")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runtime settings are test_tune.py's matter."""
    monkeypatch.delattr(backend, "tunable_settings")


def search(model: Path, config: Path, seconds: float = 600, **more: object) -> edgehone.Decision:
    return edgehone.optimize(
        model,
        workload="tiny",
        effort="quick",
        backends=["null"],
        config_file=config,
        time=seconds,
        **more,  # type: ignore[arg-type]
    )


def jobs(home: Path) -> set[str]:
    return {path.name for path in home.glob("store/jobs/*")}


def test_a_search_finds_what_a_whole_run_finds_and_does_nothing_twice(
    own_home: Path, null_model: Path, config: Path
) -> None:
    found = search(null_model, config)
    assert found.chosen in EIGHT
    status = {c.key: c for c in found.candidates}
    # Too little is kept on the first windows: not scored on the others, not measured.
    assert status["null/q2"].status == "skipped"
    assert "cannot pass accuracy_kept" in str(status["null/q2"].error)
    assert status["null/q2"].figure("kl_mean").value is not None
    # The unquantized one is not as fast: it left the race, with its figures.
    assert status["null/f32"].facts["raced_out"]
    assert status["null/f32"].figure("workload_latency_ms").value is not None

    [study] = history.studies()
    assert {"null/q8", "null/q2", "null/f32"} <= set(study.trials)
    assert (study.trials["null/q8"].figures["workload_latency_ms"].value or 0) > 0
    done = jobs(own_home)
    again = search(null_model, config)
    assert again.chosen == found.chosen
    assert jobs(own_home) == done
    assert len(history.studies()) == 1


@pytest.mark.whole
def test_what_would_not_be_built_in_time_is_not_begun(own_home: Path, null_model: Path, config: Path) -> None:
    search(null_model, config)
    [study] = history.studies()
    # As an earlier search of the same machine would tell it, where builds that learn from a text took hours.
    with closing(open_database(own_home / "history.sqlite", history.MIGRATIONS)) as database, database:
        database.execute("insert into searches select 'earlier', about, created, used from searches")
        database.execute("update trials set search = 'earlier'")
        database.execute("delete from searches where name != 'earlier'")
        database.execute(
            "update trials set record = json_set(record, '$.facts.build_seconds', 5000.0) "
            "where json_extract(record, '$.calibrated')"
        )
    assert study.trials["null/q8+text"].calibrated
    found = search(null_model, config)
    late = found.candidate("null/q8+text")
    assert late.status == "skipped"
    assert "not built: it would take 3125 s or more, judged by earlier builds" in str(late.error)
    assert found.chosen == "null/q8"


@pytest.mark.whole
def test_a_search_that_is_killed_goes_on_where_it_was(own_home: Path, null_model: Path, config: Path) -> None:
    words = [sys.executable, "-m", "edgehone.cli.main", "optimize", str(null_model), "--time", "600"]
    words += ["--workload", "tiny", "--effort", "quick", "--backends", "null", "--config", str(config)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 120
        while not (own_home / "history.sqlite").exists() or len(jobs(own_home)) < 12:
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
    before = {path.parent.name: path.stat().st_mtime_ns for path in own_home.glob("store/jobs/*/result.json")}
    found = search(null_model, config)
    assert found.chosen
    after = {path.parent.name: path.stat().st_mtime_ns for path in own_home.glob("store/jobs/*/result.json")}
    # What was done stays done, and what the kill left half done is neither taken nor left lying about.
    assert before.items() <= after.items()
    assert not list(own_home.glob("store/work/*"))


def test_constraints_are_known_before_building(own_home: Path, null_model: Path, config: Path) -> None:
    found = search(
        null_model, config, minimize=["latency"], subject_to=["bytes<=150kB"], gates=["speedup=1.5"]
    )
    by_key = {c.key: c for c in found.candidates}
    assert found.chosen in EIGHT
    assert found.requirements["weights"] == {**dict.fromkeys(OBJECTIVES, 0), "speed": 1}
    assert any(v.gate == "bytes<=150000" and v.ok for v in by_key[found.chosen or ""].verdicts)
    with pytest.raises(edgehone.NothingPasses) as tight:
        search(null_model, config, subject_to=["bytes<=20kB"])
    told = {c.key: c.error for c in tight.value.decision.candidates}
    assert "not built" in str(told["null/q8"])


@pytest.mark.whole
def test_two_aims_keep_what_is_not_beaten_in_both(own_home: Path, null_model: Path, config: Path) -> None:
    found = search(null_model, config, minimize=["latency", "bytes"], gates=["accuracy_kept=off"])
    left = {c.key for c in found.candidates if c.status == "ok" and "raced_out" not in c.facts}
    assert "null/q8+text" not in left or "null/q8" in left
    assert found.chosen in left


def test_too_short_a_time_is_told_and_what_was_done_is_kept(
    own_home: Path, null_model: Path, config: Path
) -> None:
    with pytest.raises(EdgehoneError, match="too short to measure one candidate") as caught:
        search(null_model, config, 0.01)
    assert "run the same command again" in str(caught.value.hint)
    assert jobs(own_home)


def test_more_time_is_not_the_advice_if_all_candidates_are_disqualified(
    own_home: Path, null_model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = backend.recipes

    def lying(model: edgehone.ModelInfo) -> list[Recipe]:
        return [Recipe("null", "f32", {"bits": 2}, effort="quick", exact=True), *honest(model)[1:]]

    monkeypatch.setattr(backend, "recipes", lying)
    with pytest.raises(edgehone.NothingPasses) as caught:
        search(null_model, config, 0.01)
    assert {c.status for c in caught.value.decision.candidates} == {"disqualified"}
    assert "time" not in str(caught.value.hint)


def test_lengths_of_time_are_read() -> None:
    assert [seconds_of(text) for text in ("90", "90s", "10m", "1h30m", "0.5h")] == [90, 90, 600, 5400, 1800]
    for text in ("", "soon", "10x", "-5m", "0", "1e99h", "m10"):
        with pytest.raises(InputError, match="is not a duration"):
            seconds_of(text)
    clock = Clock(100)
    assert 99 < clock.left <= 100
    assert not clock.over
    assert Clock(100, clock.begun - 101).over


def test_the_model_that_is_fake_is_really_small() -> None:
    """What the constraints above stand on: 257 x 257 weights at 8 bits are some 66 kB."""
    assert VOCABULARY == 257
    assert shipped("calibration").is_file()


def test_the_sampler_learns_of_candidates_without_a_memory_figure() -> None:
    def made(key: str, latency: float | None, memory: float | None) -> Candidate:
        figures = {
            "workload_latency_ms": Figure.missing("x") if latency is None else Figure(latency),
            "peak_memory_bytes": Figure.missing("x") if memory is None else Figure(memory),
        }
        return Candidate(key, "b", {}, figures=figures)

    original, aims = made("pytorch/original", 300.0, 8e8), [{"speed": 1.0, "memory": 0.5}, {"memory": 1.0}]
    known = losses(made("b/gpu", 2.0, 8e8), original, aims)
    assert known is not None and losses(made("b/gpu", 2.0, None), original, aims) == known
    assert losses(made("b/gpu", None, 8e8), original, aims) is None
    assert losses(made("b/gpu", 2.0, None), made("pytorch/original", 300.0, None), aims) is None
