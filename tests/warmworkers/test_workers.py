"""Jobs in forks of a warm process end, fail and are stopped like jobs in processes of their own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.core.errors import JobError
from edgehone.evaluation.memory import MemoryWatch
from edgehone.execution import child_process
from edgehone.execution.command import command_line
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Job, Limits
from edgehone.execution.run import run
from edgehone.execution.store import JobResult
from edgehone.profiling.watch import SystemWatch
from tests.warmworkers import workers

Run = Callable[..., JobResult]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="warm worker processes exist on Linux alone")


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[workers.Servers]:
    """Servers for the null backend's environment, which have imported one module of the standard library."""
    monkeypatch.setitem(workers.IMPORTS, "null", ["colorsys:rgb_to_hsv"])
    made = workers.Servers(tmp_path / "warm")
    yield made
    made.close()


@pytest.fixture
def warm(null_env: Env, servers: workers.Servers, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a function of jobfunctions.py in a fork."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "execution"))
    monkeypatch.setattr(
        child_process, "command_line", lambda job, folder: servers.command(job, command_line(job, folder))
    )
    return lambda name, **more: run(Job(f"jobfunctions:{name}", null_env, **more))


def lives(pid: int) -> bool:
    """Whether a process exists and is not just waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(pid: int) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(200):
        if not lives(pid):
            return True
        time.sleep(0.05)
    return False


def test_a_job_finds_the_imported_modules_and_leaves_what_a_cold_one_leaves(warm: Run) -> None:
    done = warm("echo", args={"say": "hi"}, threads=3)
    assert "colorsys" in done.facts["modules"] and done.facts["threads"] == 3
    assert (done.out / "said.txt").read_text() == "hi"
    assert "warmworkers" not in (done.folder / "reproduce.sh").read_text()


def test_a_job_has_its_own_environment_variables(warm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    warm("echo", args={"say": "hi"})
    monkeypatch.setenv("CAME_LATER", "yes")
    assert warm("environment").facts["CAME_LATER"] == "yes"


def test_failures_are_reported_with_their_cause_and_log(warm: Run) -> None:
    with pytest.raises(JobError, match="ValueError: the value 7 is wrong") as caught:
        warm("raise_error")
    assert caught.value.log and "a line of the log" in Path(caught.value.log).read_text()
    with pytest.raises(JobError, match=r"crashed with SIGABRT: GGML_ASSERT\(x > 0\) failed"):
        warm("die")
    with pytest.raises(JobError, match="killed by signal 9"):
        warm("killed")


def test_a_job_that_exceeds_its_limit_ends_with_its_children(warm: Run) -> None:
    with pytest.raises(JobError, match="time limit of 1 s") as caught:
        warm("sleep", limits=Limits(seconds=1))
    assert caught.value.log is not None
    pids = (Path(caught.value.log).parent / "pids").read_text().split()
    assert len(pids) == 2 and all(ends(int(pid)) for pid in pids)


def test_jobs_whose_process_is_watched_for_more_than_its_memory_start_cold(
    null_env: Env, servers: workers.Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An environment with an interpreter of its own, as those of real backends.
    python = tmp_path / "python"
    python.symlink_to(null_env.python)
    monkeypatch.setitem(workers.IMPORTS, "other", [])
    job = Job("jobfunctions:echo", replace(null_env, name="other", python=python))
    for warm in (replace(job, exclusive=True), replace(job, watch=MemoryWatch)):
        assert "client.py" in " ".join(servers.command(warm, ["cold"]))
    assert servers.command(replace(job, watch=SystemWatch), ["cold"]) == ["cold"]


def test_measurements_of_the_null_backend_start_cold(null_env: Env, servers: workers.Servers) -> None:
    job = Job("jobfunctions:echo", null_env)
    assert "client.py" in " ".join(servers.command(job, ["cold"]))
    assert servers.command(replace(job, exclusive=True), ["cold"]) == ["cold"]


def test_a_server_is_shared_and_ends_with_its_last_user(null_env: Env, servers: workers.Servers) -> None:
    job = Job("jobfunctions:echo", null_env)
    other = workers.Servers(servers.folder)
    assert servers.listening(job) == other.listening(job)
    (pid,) = (
        int(entry.name)
        for entry in Path("/proc").glob("[0-9]*")
        if int(entry.name) != os.getpid() and str(servers.folder).encode() in _command(entry)
    )
    servers.close()
    time.sleep(0.2)
    assert lives(pid)
    other.close()
    assert ends(pid)


def test_an_import_that_fails_is_reported(
    null_env: Env, servers: workers.Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(workers.IMPORTS, "null", ["no_such_module"])
    with pytest.raises(RuntimeError, match="No module named 'no_such_module'"):
        servers.listening(Job("jobfunctions:echo", null_env))


def _command(process: Path) -> bytes:
    with suppress(OSError):
        return (process / "cmdline").read_bytes()
    return b""
