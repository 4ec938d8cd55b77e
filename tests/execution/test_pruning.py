"""Intermediate results: their bulky files are removed beyond a limit, and made again when a job reads them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from edgehone.execution import pruning, store
from edgehone.execution.child_process import execute_locally
from edgehone.execution.environments.environment import Env
from edgehone.execution.home import file_lock, home
from edgehone.execution.job import Input, Job
from edgehone.execution.pruning import mark, prune, unmark
from edgehone.execution.run import run
from edgehone.execution.store import JobResult

SIZE = pruning.BULKY_BYTES


@pytest.fixture(autouse=True)
def _functions_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


def write(env: Env, ran: Path, **more: Any) -> Job:
    return Job("jobfunctions:write", env, {"bytes": SIZE, "ran": str(ran), **more})


def marked(job: Job, at: float = 0.0) -> JobResult:
    result = run(job)
    mark(result, result.out.iterdir())
    if at:
        os.utime(result.folder / "intermediate.json", (at, at))
    return result


def read(env: Env, written: JobResult, **more: Any) -> Job:
    return Job("jobfunctions:read", env, more, {"written": Input.of(written)})


def test_the_least_recently_used_are_removed_and_small_files_and_facts_stay(null_env: Env, ran: Path) -> None:
    new, old = (marked(write(null_env, ran, i=i), at=1000 - i) for i in range(2))
    assert prune(SIZE) == SIZE
    assert (new.out / "large").exists() and not (old.out / "large").exists()
    assert (old.out / "small").exists()
    again = run(write(null_env, ran, i=1))
    assert again.cached and again.pruned and again.facts == {"kept": 1} and ran.read_text() == "ww"
    assert prune(SIZE) == 0


def test_a_job_that_reads_removed_files_gets_them_again(null_env: Env, ran: Path) -> None:
    written = marked(write(null_env, ran))
    assert run(read(null_env, written)).facts == {"size": SIZE}
    prune(0)
    assert (
        run(read(null_env, written)).facts == {"size": SIZE} and ran.read_text() == "w"
    )  # the result of the reader is stored
    assert run(read(null_env, written, other=1)).facts == {"size": SIZE} and ran.read_text() == "ww"
    assert not run(write(null_env, ran)).pruned


def test_files_that_another_run_removes_before_the_job_starts_are_made_again(
    null_env: Env, ran: Path
) -> None:
    written = marked(write(null_env, ran))

    def execute(job: Job, folder: Path, on_progress: Any) -> None:
        if not store.is_pruned(written.folder) and ran.read_text() == "w":
            prune(0)
        execute_locally(job, folder, on_progress)

    assert run(read(null_env, written), execute=execute).facts == {"size": SIZE} and ran.read_text() == "ww"


def test_artifacts_stay_and_nothing_is_removed_while_a_job_runs(null_env: Env, ran: Path) -> None:
    written = marked(write(null_env, ran))
    with file_lock(home() / "locks" / "machine.lock", shared=True):
        assert prune(0) == 0
    unmark(written)
    assert prune(0) == 0 and (written.out / "large").exists()


def merged_model(key: str, days: float) -> Path:
    """A merged model that a run used so many days ago."""
    folder = home() / "merged" / key
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights").write_bytes(bytes(SIZE))
    note = folder / "edgehone-merge.json"
    note.write_text("{}")
    os.utime(note, (time.time() - 86_400 * days,) * 2)
    return folder


def test_merged_models_are_removed_unless_they_were_used_within_a_day(own_home: Path) -> None:
    today, week, month = (merged_model(key, days) for key, days in (("a", 0.1), ("b", 7), ("c", 30)))
    size = SIZE + len("{}")
    assert prune(3 * size) == 0
    assert prune(2 * size) == size and not month.exists()
    with file_lock(pruning.merged_lock("b")):  # a run has just begun to use it
        assert prune(0) == 0 and week.exists()
    assert prune(0) == size
    assert not week.exists() and (today / "model" / "weights").is_file()
