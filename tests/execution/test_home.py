"""EDGEHONE_HOME and locks between processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgehone.core.errors import JobError, SetupError
from edgehone.execution.home import file_lock, home
from edgehone.execution.processes import CHILDREN


def test_home_is_where_the_variable_says_and_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "a" / "b"))
    assert home() == tmp_path / "a" / "b"
    assert home().is_dir()


def test_a_relative_home_does_not_move_with_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEHONE_HOME", "here")
    assert home() == tmp_path / "here"


def test_a_tilde_means_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEHONE_HOME", "~/mine")
    assert home() == tmp_path / "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="where the cache lies differs by system")
@pytest.mark.parametrize(("xdg", "expected"), [("", ".cache"), ("relative", ".cache"), ("{}/x", "x")])
def test_without_the_variable_it_is_in_the_users_cache(
    xdg: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEHONE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", xdg.format(tmp_path))
    assert home() == tmp_path / expected / "edgehone"


def test_a_home_that_cannot_be_made_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "file" / "below"))
    with pytest.raises(SetupError, match="below cannot be created: Not a directory") as caught:
        home()
    assert caught.value.hint is not None and "EDGEHONE_HOME=" in caught.value.hint


def test_a_file_in_the_place_of_home_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "file"))
    with pytest.raises(SetupError, match="file cannot be created"):
        home()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_home_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path))
    with pytest.raises(SetupError, match="cannot be written"):
        home()


def test_a_lock_is_made_with_its_folders_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    with file_lock(path):
        pass
    assert path.exists()


def test_a_lock_is_exclusive_between_threads_too(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with file_lock(path), pytest.raises(BlockingIOError), file_lock(path, wait=False):
        pass
    with file_lock(path, wait=False):
        pass


def test_readers_share_and_a_writer_waits_for_them(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    reading = [file_lock(path, shared=True), file_lock(path, shared=True, wait=False)]
    with reading[0], reading[1], pytest.raises(BlockingIOError), file_lock(path, wait=False):
        pass
    with file_lock(path), pytest.raises(BlockingIOError), file_lock(path, shared=True, wait=False):
        pass


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with pytest.raises(ValueError, match="inside"), file_lock(path):
        raise ValueError("inside")
    with file_lock(path, wait=False):
        pass


def test_whoever_waited_for_a_file_that_was_removed_locks_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    got = threading.Event()
    let_go = threading.Event()

    def wait_for_it() -> None:
        with file_lock(path):
            got.set()
            let_go.wait(30)

    waiting = threading.Thread(target=wait_for_it)
    with file_lock(path):
        waiting.start()
        time.sleep(0.1)  # so that it most likely waits by now; the test holds either way
        path.unlink()
    assert got.wait(30)
    with pytest.raises(BlockingIOError), file_lock(path, wait=False):
        pass
    let_go.set()
    waiting.join()


HOLD = """
import sys, time
from pathlib import Path
from edgehone.execution.home import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError), file_lock(path, wait=False):
            pass
        process.kill()
    with file_lock(path, wait=False):
        pass


def test_a_lock_that_cannot_be_written_is_a_setup_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(SetupError, match=r"a\.lock cannot be written: Read-only"),
        file_lock(tmp_path / "a.lock"),
    ):
        pass


def test_waiting_for_a_lock_ends_when_the_jobs_of_the_process_are_ended(tmp_path: Path) -> None:
    """A thread of a pool waits for a lock while the main thread is interrupted."""
    path = tmp_path / "a.lock"
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        with file_lock(path):
            pass

    with file_lock(path):
        with pytest.raises(KeyboardInterrupt), CHILDREN.pool(1) as pool:
            waiting = pool.submit(wait)
            waits.wait()
            raise KeyboardInterrupt
        with pytest.raises(JobError, match="stopped before it began"):
            waiting.result(0)
