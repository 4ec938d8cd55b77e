"""A run that is killed, interrupted, started twice, or whose disk is full: what was finished is kept."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import edgehone
from edgehone.execution.home import file_lock
from tests.disks import small_file_system


def command(model: Path, config: Path, out: Path) -> list[str]:
    words = "optimize --workload tiny --effort quick --backends null --config"
    return [
        sys.executable,
        "-m",
        "edgehone.cli.main",
        *words.split(),
        str(config),
        str(model),
        "--out",
        str(out),
    ]


def finish(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def finished(home: Path) -> dict[str, int]:
    """Finished jobs and the inode of each one's result: a job done again has another."""
    return {path.parent.name: path.stat().st_ino for path in home.glob("store/jobs/*/result.json")}


@pytest.mark.whole
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_a_run_killed_at_random_moments_goes_on_where_it_was(
    kills: int, null_model: Path, config: Path, tmp_path: Path
) -> None:
    """Each further run comes to the same decision and does no finished job again."""
    home = tmp_path / "home"
    environment = {**os.environ, "EDGEHONE_HOME": str(home)}
    chance = random.Random(7)
    seen: dict[str, int] = {}
    for _ in range(kills):
        run = subprocess.Popen(
            command(null_model, config, tmp_path / "bundle"),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # A run has some 26 jobs: let each run finish a share of them.
        wanted, deadline = len(seen) + 20 // kills, time.monotonic() + 60
        while len(finished(home)) < wanted and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))
        run.send_signal(signal.SIGKILL)
        run.wait()
        now = finished(home)
        assert seen.items() <= now.items()
        seen = now
    last = finish(command(null_model, config, tmp_path / "bundle"), environment)
    assert last.returncode == 0, last.stderr
    assert seen.items() <= finished(home).items()
    resumed = edgehone.read(tmp_path / "bundle")
    assert edgehone.verify(resumed) == []
    assert resumed.decision.chosen == "null/q8"


@pytest.mark.whole
def test_ctrl_c_ends_the_children_and_the_next_run_goes_on(
    null_model: Path, config: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "EDGEHONE_HOME": str(home)}
    # In the background of a shell it is ignored, and children inherit that; what is handled they get afresh.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    run = subprocess.Popen(
        command(null_model, config, tmp_path / "bundle"), env=environment, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 30
    while len(finished(home)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=20)
    assert run.returncode == 130
    assert "Traceback" not in said
    assert "run the same command again to continue" in said
    assert not (tmp_path / "bundle").exists()
    again = finish(command(null_model, config, tmp_path / "bundle"), environment)
    assert again.returncode == 0


@pytest.mark.parametrize(
    "shared", [False, pytest.param(True, marks=pytest.mark.whole)], ids=["builds", "measurements"]
)
def test_ctrl_c_ends_a_run_that_waits_for_a_lock(
    shared: bool, null_model: Path, config: Path, tmp_path: Path
) -> None:
    """A build waits for another process's measurement; a measurement waits for another process's builds."""
    home = tmp_path / "home"
    environment = {**os.environ, "EDGEHONE_HOME": str(home)}
    log = tmp_path / "log"
    with file_lock(home / "locks" / "machine.lock", shared=shared), log.open("w") as file:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        run = subprocess.Popen(
            command(null_model, config, tmp_path / "bundle"), env=environment, stdout=file, stderr=file
        )
        signal.signal(signal.SIGINT, before)
        deadline = time.monotonic() + 120
        while not steadily_waiting(home):
            assert run.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=60) == 130  # while the lock is held
    assert "Traceback" not in log.read_text()


def steadily_waiting(home: Path) -> bool:
    """Whether a job has been claimed for half a second and has not started: it waits for the lock of the machine."""

    def claimed() -> set[str]:
        return {work.name for work in home.glob("store/work/*") if not (work / "job.json").exists()}

    before = claimed()
    time.sleep(0.5)
    return bool(before & claimed())


@pytest.mark.whole
def test_two_runs_on_one_store_at_once(null_model: Path, config: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "EDGEHONE_HOME": str(tmp_path / "home")}
    outs = [tmp_path / "a", tmp_path / "b"]
    runs = [
        subprocess.Popen(command(null_model, config, out), env=environment, stderr=subprocess.PIPE, text=True)
        for out in outs
    ]
    for run in runs:
        _, said = run.communicate(timeout=120)
        assert run.returncode == 0, said
    first, second = (edgehone.read(out).decision for out in outs)
    assert first.candidates == second.candidates  # every job was run once and shared


@pytest.mark.whole
def test_a_full_disk_is_told_and_finished_jobs_are_kept(
    null_model: Path, config: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    with small_file_system(small, "6m"):
        environment = {**os.environ, "EDGEHONE_HOME": str(small)}
        done = finish(command(null_model, config, tmp_path / "bundle"), environment)
        assert done.returncode in (1, 2), done.stderr
        assert "No space left" in done.stderr or "no space left" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "bundle").exists()
        jobs = finished(small)
        assert jobs
        subprocess.run(["mount", "-o", "remount,size=200m", str(small)], check=True)
        again = finish(command(null_model, config, tmp_path / "bundle"), environment)
        assert again.returncode == 0, again.stderr
        assert jobs.items() <= finished(small).items()


@pytest.mark.whole
def test_an_artifact_that_changed_since_it_was_scored_is_not_bundled(
    null_model: Path, config: Path, tmp_path: Path
) -> None:
    """The run says which file it is; with the job removed it builds the artifact again."""
    home = tmp_path / "home"
    environment = {**os.environ, "EDGEHONE_HOME": str(home)}
    words = command(null_model, config, tmp_path / "bundle")
    assert finish(words, environment).returncode == 0
    before = edgehone.read(tmp_path / "bundle")
    built = home / "store" / "jobs" / before.manifest.artifact_key
    file = max((built / "out").iterdir(), key=lambda path: path.stat().st_size)
    content = file.read_bytes()
    for damage in (content[:-1] + bytes([content[-1] ^ 1]), content[:-1], b""):
        file.write_bytes(damage)
        done = finish(words, environment)
        assert done.returncode == 2, done.stderr
        assert f"{file} is not what was built and scored" in done.stderr
        assert f"rm -r {built}" in done.stderr
    assert edgehone.verify(before) == []  # the older bundle is left as it is
    shutil.rmtree(built)
    assert finish(words, environment).returncode == 0
    assert edgehone.verify(edgehone.read(tmp_path / "bundle")) == []
