"""Kill -9 of `edgehone pipeline run` at random points: it goes on, and no stage is done twice or half."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from edgehone.pipeline.record import NAME, Record
from tests.finished import Finished
from tests.pipeline.nullpipeline import (
    DEPLOYMENT,
    STAGES,
    Place,
    outcomes,
    passed_twice,
    processes_about,
    whole,
)


def killed_after(place: Place, seconds: float, *words: str) -> bool:
    """Start a run and kill it after so many seconds. Returns whether it ran until then. Its children end with it."""
    run = place.start("run", *words)
    time.sleep(seconds)
    return ended(place, run)


def ended(place: Place, run: subprocess.Popen[bytes]) -> bool:
    """Kill a run. Returns whether it still ran. Its children end with it."""
    alive = run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.wait()
    for _ in range(100):
        if not (left := processes_about(place.path)):
            return alive
        time.sleep(0.1)
    pytest.fail(f"these go on without the run that was killed: {left}")


def check_registry(place: Place, name: str) -> None:
    """Check that each alias moved to each version once at most."""
    moves = [
        (one["alias"], one["number"])
        for one in place.registry("history", name) or []
        if one["kind"] == "alias"
    ]
    assert len(moves) == len(set(moves)), moves


@pytest.mark.whole
def test_a_deployment_that_is_killed_at_six_points_goes_on(finished: Finished, tmp_path: Path) -> None:
    place = Place(tmp_path, finished.home)
    (tmp_path / "deploy.yaml").write_text(DEPLOYMENT)
    words = ("deploy.yaml", "--bundle", str(finished.bundle))
    chance = random.Random(19)
    for _ in range(6):
        killed_after(place, chance.uniform(0.3, 4.0), *words)
        assert not passed_twice(tmp_path / "deploy-run")
    done = place.run("run", *words, "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert outcomes(place.run("run", *words, "--json")) == {
        "staging_deployment": "unchanged",
        "production_deployment": "unchanged",
    }
    assert not passed_twice(tmp_path / "deploy-run")
    check_registry(place, "tiny")
    assert [one["number"] for one in place.registry("list")] == [1]


def killed_in(place: Place, stage: str, chance: random.Random, out: str) -> bool:
    """Start a run and kill it at a random time after a stage has begun.

    Returns whether it ran until then; nothing is started if the stage has passed in an earlier run.
    """
    record = Record(place.path / out)

    def events() -> list[tuple[str, str]]:
        found = record.events() if (place.path / out / NAME).is_file() else []
        return [(one[2], one[3]) for one in found]

    before = events()
    if (stage, "passed") in before:
        return False
    run = place.start("run", "whole.yaml", "--out", out)
    while run.poll() is None:
        if (stage, "begun") in events()[len(before) :]:
            time.sleep(chance.uniform(0, 4))
            break
        time.sleep(0.05)
    return ended(place, run)


@pytest.mark.long
def test_a_pipeline_that_is_killed_at_a_hundred_points_goes_on(tmp_path: Path) -> None:
    place, chance, kills, runs = whole(tmp_path), random.Random(100), 0, 0
    while kills < 100:
        out = f"run-{runs}"
        for stage in STAGES:
            for _ in range(6):
                kills += killed_in(place, stage, chance, out)
                assert not passed_twice(tmp_path / out)
        done = place.run("run", "whole.yaml", "--out", out, "--json")
        assert done.returncode == 0, done.stderr[-3000:]
        assert outcomes(place.run("run", "whole.yaml", "--out", out, "--json")) == dict.fromkeys(
            STAGES, "unchanged"
        )
        assert not passed_twice(tmp_path / out)
        runs += 1
    check_registry(place, "null-model")
