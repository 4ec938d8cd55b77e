"""Services that are begun before they are needed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edgehone.execution import service
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Job
from edgehone.execution.store import read_result


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.syspath_prepend(Path(__file__).parent)
    yield tmp_path


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def _job(python: str = sys.executable) -> Job:
    """A job that waits until its parent closes the channel."""
    env = Env("own", Path(python), None, "")
    return Job("jobfunctions:wait_for_channel", env, {}, {}, threads=1)


def test_a_begun_service_is_that_of_its_start(temporary: Path) -> None:
    job, other = _job(), _job()
    before = _children()  # other tests' helpers
    with service.begun([job, other]):
        begun = _children() - before
        first = service.start(job)
        assert first.child.pid in begun
        again = service.start(job)  # as after its end
        assert again.child.pid not in begun
        assert len(list(temporary.iterdir())) == 3
        for one in (first, again):
            one.end()
    # The other one, which nobody started, has ended.
    assert not begun & _children()
    assert not list(temporary.iterdir())


def test_a_service_that_cannot_be_begun_tells_why_at_its_start(temporary: Path) -> None:
    job = _job(str(temporary / "no-python"))
    with service.begun([job]), pytest.raises(OSError, match="no-python"):
        service.start(job)
    assert not list(temporary.iterdir())


def test_an_error_ends_what_was_begun(temporary: Path) -> None:
    with pytest.raises(ValueError, match="port"), service.begun([_job()]):
        raise ValueError("port")
    assert not list(temporary.iterdir())


def _expected(threads: int = 1, *modules: str) -> service.Expected:
    return service.Expected(Path(sys.executable), _job().call, None, threads, modules)


def test_a_waiting_process_gets_the_job_that_it_fits(temporary: Path) -> None:
    before = _children()
    with service.waiting([_expected(1, "json", "no_such_module"), _expected(2)]):
        waiting = _children() - before
        assert len(waiting) == 2
        first = service.start(_job())
        assert first.child.pid in waiting
        second = service.start(_job())  # the other one has other threads
        assert second.child.pid not in waiting
        for one in (first, second):
            one.channel.sendall(b"?")
            assert one.child.wait(30) == 0
            assert (read_result(one.folder) or {})["facts"] == {}
            one.end()
    assert not waiting & _children()
    assert not list(temporary.iterdir())


def test_a_waiting_process_that_has_ended_is_replaced(temporary: Path) -> None:
    with service.waiting([_expected()]):
        _, waiting, _ = service._WAITING[-1]
        waiting.child.kill()
        waiting.child.wait()
        started = service.start(_job())
        assert started.child.pid != waiting.child.pid
        started.end()
    assert not list(temporary.iterdir())


def test_a_process_that_cannot_wait_is_no_error(temporary: Path) -> None:
    with service.waiting([service.Expected(temporary / "no-python", _job().call, None, 1, [])]):
        started = service.start(_job())
        started.end()
    assert not list(temporary.iterdir())


def test_a_waiting_process_ends_with_its_parent(temporary: Path) -> None:
    """The parent is killed, so nothing is told to the process but the end of the socket."""
    words = """
import sys, time
from pathlib import Path
from edgehone.execution import service
with service.waiting([service.Expected(Path(sys.executable), "jobfunctions:wait_for_channel", None, 1, [])]):
    print(service._WAITING[0][1].child.pid, flush=True)
    time.sleep(60)
"""
    environment = {"PYTHONPATH": str(Path(__file__).parent), "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        number = int(parent.stdout.readline())
        assert psutil.pid_exists(number)
        parent.kill()
    gone = time.monotonic() + 20
    while psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < gone
        time.sleep(0.05)
