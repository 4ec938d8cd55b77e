"""Jobs: run, stored, failed, stopped, killed, shared between processes."""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import JobError
from edgehone.execution import store
from edgehone.execution.environments.environment import Env
from edgehone.execution.home import file_lock, home
from edgehone.execution.job import Input, Job, Limits
from edgehone.execution.processes import CHILDREN
from edgehone.execution.run import run
from edgehone.execution.source_digest import source_digest
from edgehone.execution.store import JobResult

FUNCTIONS = "jobfunctions"


@pytest.fixture(autouse=True)
def _functions_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def job(env: Env, name: str, **more: Any) -> Job:
    return Job(f"{FUNCTIONS}:{name}", env, **more)


def test_a_job_stores_its_description_files_and_facts(null_env: Env) -> None:
    done = run(job(null_env, "echo", args={"say": "hi"}, threads=3))
    assert done.facts["said"] == "hi"
    assert done.facts["threads"] == 3
    assert (done.out / "said.txt").read_text() == "hi"
    assert json.loads((done.folder / "job.json").read_text())["args"] == {"say": "hi"}
    assert not done.cached


def test_a_worker_imports_only_what_its_function_imports(null_env: Env) -> None:
    modules = run(job(null_env, "echo", args={"say": "hi"})).facts["modules"]
    assert not {"rich", "uv", "numpy", "edgehone.cli", "edgehone.decision"} & set(modules)


def test_a_finished_job_is_not_run_again(null_env: Env, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    first = run(job(null_env, "count", args={"file": str(file)}))
    again = run(job(null_env, "count", args={"file": str(file)}))
    assert again.cached and not first.cached
    assert again.out == first.out
    assert file.read_text() == "ran\n"


def test_waiting_for_the_machine_is_reported(null_env: Env) -> None:
    reported: list[str] = []
    with file_lock(home() / "locks" / "machine.lock"):
        waiting = threading.Thread(
            target=lambda: run(
                job(null_env, "echo", args={"say": 1}), lambda fraction, doing: reported.append(doing)
            )
        )
        waiting.start()
        deadline = time.monotonic() + 10
        while not reported and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(reported) == 1
        assert reported[0].startswith(
            "waiting: a measurement of this machine must end first (held by this run (process"
        )
    waiting.join(30)
    assert not waiting.is_alive()


def test_waiting_for_the_same_job_of_another_run_is_reported(null_env: Env) -> None:
    reported: list[str] = []
    echo = job(null_env, "echo", args={"say": 2})
    with file_lock(home() / "store" / "locks" / f"{echo.key}.lock"):
        waiting = threading.Thread(target=lambda: run(echo, lambda fraction, doing: reported.append(doing)))
        waiting.start()
        deadline = time.monotonic() + 10
        while not reported and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(reported) == 1
        assert reported[0].startswith("waiting: the same job is running already (held by this run (process")
    waiting.join(30)
    assert not waiting.is_alive()


def test_the_key_depends_on_all_that_determines_the_result(null_env: Env, tmp_path: Path) -> None:
    base = job(null_env, "echo", args={"say": 1}, inputs={"model": Input(tmp_path, "a")})
    others = [
        job(null_env, "echo", args={"say": 2}, inputs={"model": Input(tmp_path, "a")}),
        job(null_env, "echo", args={"say": 1}, inputs={"model": Input(tmp_path, "b")}),
        job(null_env, "count", args={"say": 1}, inputs={"model": Input(tmp_path, "a")}),
        job(null_env, "echo", args={"say": 1}, inputs={"model": Input(tmp_path, "a")}, threads=2),
        job(null_env, "echo", args={"say": 1}, inputs={"model": Input(tmp_path, "a")}, also={"device": "x"}),
        job(
            null_env,
            "echo",
            args={"say": 1},
            inputs={"model": Input(tmp_path, "a")},
            backend="edgehone.core.figure",
        ),
    ]
    assert len({base.key, *(other.key for other in others)}) == len(others) + 1
    moved = job(null_env, "echo", args={"say": 1}, inputs={"model": Input(tmp_path / "moved", "a")})
    assert moved.key == base.key  # the path of an input does not matter, its identity does


def test_a_result_that_links_to_its_inputs_depends_on_their_paths(null_env: Env, tmp_path: Path) -> None:
    def run_link(folder: Path, identity: str) -> JobResult:
        return run(job(null_env, "link", inputs={"model": Input(folder, identity)}, links=True))

    for name, content in (("old", "one"), ("new", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(content)
    old = run_link(tmp_path / "old", "digest of one")
    (tmp_path / "old" / "weights").write_text("two")  # the model was moved and replaced by another
    new, other = run_link(tmp_path / "new", "digest of one"), run_link(tmp_path / "old", "digest of two")
    assert (new.out / "weights").read_text() == "one"
    assert (other.out / "weights").read_text() == "two"
    # The keys of jobs that read the result do not depend on the path.
    assert Input.of(new).identity == Input.of(old).identity != Input.of(other).identity
    assert run_link(tmp_path / "new", "digest of one").cached


def test_the_code_of_a_function_and_of_all_that_it_imports_is_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "some"
    package.mkdir()
    for name in ("__init__", "deep", "other"):
        (package / f"{name}.py").write_text("")
    (package / "helper.py").write_text("from some.deep import x\n")
    (package / "step.py").write_text("import json\ndef f():\n    from some import helper\n")
    digest = source_digest.__wrapped__
    before = digest("some.step")
    (package / "other.py").write_text("unused = 1\n")
    assert digest("some.step") == before
    (package / "deep.py").write_text("x = 1\n")
    assert digest("some.step") != before


def test_an_exception_is_the_error_of_the_job_with_its_log(null_env: Env) -> None:
    with pytest.raises(JobError) as caught:
        run(job(null_env, "raise_error"))
    assert caught.value.message == "ValueError: the value 7 is wrong"
    assert caught.value.log is not None
    assert "a line of the log" in caught.value.log.read_text()


def test_a_native_crash_is_reported_with_the_root_cause_in_the_log(null_env: Env) -> None:
    with pytest.raises(JobError, match=r"crashed with SIGABRT: GGML_ASSERT\(x > 0\) failed"):
        run(job(null_env, "die"))


def test_a_kill_because_memory_ran_out_is_reported(null_env: Env) -> None:
    with pytest.raises(
        JobError, match=r"killed by signal 9, most often because memory ran out.*allocating 7 GiB"
    ):
        run(job(null_env, "killed"))


def test_a_failure_is_not_stored_as_a_result(null_env: Env) -> None:
    for _ in range(2):
        with pytest.raises(JobError):
            run(job(null_env, "raise_error"))
    assert store.find(job(null_env, "raise_error").key, "") is None


def test_the_time_limit_ends_the_child_and_its_children(null_env: Env) -> None:
    with pytest.raises(JobError, match="time limit of 1 s") as caught:
        run(job(null_env, "sleep", limits=Limits(seconds=1)))
    assert caught.value.log is not None
    for pid in (caught.value.log.parent / "pids").read_text().split():
        assert gone(int(pid))


def test_a_job_without_progress_is_stopped(null_env: Env) -> None:
    with pytest.raises(JobError, match="no progress for 1 s"):
        run(job(null_env, "sleep", limits=Limits(silent=1)))
    assert run(job(null_env, "report_progress", limits=Limits(silent=1))).facts["ok"]


@pytest.mark.parametrize("name", ["hoard", "hoard_in_a_child"])
def test_the_memory_limit_counts_the_child_and_its_children(name: str, null_env: Env) -> None:
    with pytest.raises(JobError, match="memory limit"):
        run(job(null_env, name, limits=Limits(bytes=200 << 20)))


def test_the_memory_limit_does_not_count_mapped_files(null_env: Env) -> None:
    """A build that maps a model larger than its limit is not stopped: the kernel can drop the pages of a file."""
    assert run(job(null_env, "map_a_file", args={"bytes": 300 << 20}, limits=Limits(bytes=150 << 20))).facts[
        "ok"
    ]


def test_children_send_no_telemetry_and_are_offline(null_env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    variables = run(job(null_env, "environment")).facts
    assert variables["HF_HUB_OFFLINE"] == "1" and variables["DO_NOT_TRACK"] == "1"
    assert variables["OMP_NUM_THREADS"] == "1"
    assert "PYTHONPATH" not in variables


def test_reproduce_sh_runs_the_job_again(null_env: Env, tmp_path: Path) -> None:
    done = run(job(null_env, "echo", args={"say": "it's"}))
    again = tmp_path / "again"
    again.mkdir()
    subprocess.run(
        ["sh", str(done.folder / "reproduce.sh"), str(again)], check=True, stdin=subprocess.DEVNULL
    )
    assert (again / "out" / "said.txt").read_text() == "it's"


def run_counted(env: Env, file: str) -> None:
    run(Job(f"{FUNCTIONS}:count", env, args={"file": file}))


def test_two_processes_run_a_job_once(null_env: Env, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    spawn = multiprocessing.get_context("fork")
    both = [spawn.Process(target=run_counted, args=(null_env, str(file))) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
        assert process.exitcode == 0
    assert file.read_text() == "ran\n"


def test_two_threads_run_a_job_once(null_env: Env, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    both = [threading.Thread(target=run_counted, args=(null_env, str(file))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(30)
    assert file.read_text() == "ran\n"


def test_the_child_and_grandchild_of_a_killed_parent_end(null_env: Env, own_home: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from edgehone.execution.environments import environment\n"
        "from edgehone.execution.job import Job; from edgehone.execution.run import run\n"
        "from edgehone.backends.null import backend\n"
        "run(Job('jobfunctions:sleep', environment.ensure('null', backend.NEEDS, print)))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(Path(__file__).parent)])
    pids = wait_for(
        lambda: [p.read_text().split() for p in own_home.glob("store/work/*/pids") if p.read_text()]
    )
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for pid in pids[0]:
        wait_for(lambda pid=pid: gone(int(pid)))


def test_files_of_an_interrupted_run_are_removed(null_env: Env, own_home: Path) -> None:
    echo = job(null_env, "echo", args={"say": "hi"})
    leftover = own_home / "store" / "work" / echo.key / "out"
    leftover.mkdir(parents=True)
    (leftover / "said.txt").write_text("half")
    assert (run(echo).out / "said.txt").read_text() == "hi"


def test_an_error_in_the_pool_ends_running_children(null_env: Env) -> None:
    failures: list[JobError] = []

    def work() -> None:
        try:
            run(job(null_env, "sleep"))
        except JobError as error:
            failures.append(error)

    with pytest.raises(KeyboardInterrupt), CHILDREN.pool(1) as pool:
        pool.submit(work)
        pool.submit(work)
        time.sleep(0.5)
        raise KeyboardInterrupt
    # The second was never started. A child that is ended with the run is no sign of too little memory.
    assert [one.message for one in failures] == ["ended, since the run was stopped"]
    assert run(job(null_env, "echo", args={"say": "after"})).facts["said"] == "after"


def test_builds_overlap_each_other_but_never_a_measurement(null_env: Env, tmp_path: Path) -> None:
    """Two builds that end only once both run; once they do, two measurements and two more builds."""
    meeting = tmp_path / "meeting"
    first = {
        f"build {name}": job(null_env, "meet", args={"folder": str(meeting), "name": name}) for name in "ab"
    }
    later = {f"measurement {i}": job(null_env, "work", args={"i": i}, exclusive=True) for i in range(2)}
    later |= {f"build {i}": job(null_env, "work", args={"build": i}) for i in range(2)}
    jobs = first | later
    with CHILDREN.pool(len(jobs)) as pool:
        running = [pool.submit(run, one) for one in first.values()]
        wait_for(lambda: meeting.is_dir() and len(list(meeting.iterdir())) == 2, seconds=60)
        running += [pool.submit(run, one) for one in later.values()]
        done = dict(zip(jobs, [one.result() for one in running], strict=True))
    spans: dict[str, tuple[float, float]] = {
        name: (one.facts["started"], one.facts["ended"]) for name, one in done.items()
    }

    def overlap(one: str, other: str) -> bool:
        return spans[one][0] < spans[other][1] and spans[other][0] < spans[one][1]

    assert overlap("build a", "build b")
    measurements = [name for name in jobs if name.startswith("measurement")]
    together = [
        (one, other) for one in measurements for other in jobs if other != one and overlap(one, other)
    ]
    assert together == []


def wait_for(condition: Any, seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def gone(pid: int) -> bool:
    """Return True if a process has ended, also if it is still a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"
