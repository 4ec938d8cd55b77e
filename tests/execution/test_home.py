"""EDGEHONE_HOME and locks between processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgehone.core.errors import JobError, SetupError
from edgehone.execution import home as execution_home
from edgehone.execution.home import file_lock, home
from edgehone.execution.lock_notes import holders
from edgehone.execution.processes import CHILDREN


def test_the_variable_names_the_home_which_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "a" / "b"))
    assert home() == tmp_path / "a" / "b"
    assert home().is_dir()


def test_a_relative_home_is_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEHONE_HOME", "here")
    assert home() == tmp_path / "here"


def test_a_tilde_is_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEHONE_HOME", "~/mine")
    assert home() == tmp_path / "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="where the cache lies differs by system")
@pytest.mark.parametrize(("xdg", "expected"), [("", ".cache"), ("relative", ".cache"), ("{}/x", "x")])
def test_without_the_variable_the_home_is_in_the_users_cache_folder(
    xdg: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEHONE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", xdg.format(tmp_path))
    assert home() == tmp_path / expected / "edgehone"


def test_a_home_that_cannot_be_created_is_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "file" / "below"))
    with pytest.raises(SetupError, match="below cannot be created: Not a directory") as caught:
        home()
    assert caught.value.hint is not None and "EDGEHONE_HOME=" in caught.value.hint


def test_a_file_at_the_path_of_the_home_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_lock_file_and_its_folders_are_created_and_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    with file_lock(path):
        pass
    assert path.exists()


def test_a_lock_is_exclusive_between_threads(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with file_lock(path), pytest.raises(BlockingIOError), file_lock(path, wait=False):
        pass
    with file_lock(path, wait=False):
        pass


def test_readers_share_a_lock_and_exclude_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    reading = [file_lock(path, shared=True), file_lock(path, shared=True, wait=False)]
    with reading[0], reading[1], pytest.raises(BlockingIOError), file_lock(path, wait=False):
        pass
    with file_lock(path), pytest.raises(BlockingIOError), file_lock(path, shared=True, wait=False):
        pass


def test_an_error_in_the_block_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with pytest.raises(ValueError, match="inside"), file_lock(path):
        raise ValueError("inside")
    with file_lock(path, wait=False):
        pass


def test_a_thread_that_waited_for_a_removed_file_locks_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    acquired = threading.Event()
    release = threading.Event()

    def hold_lock() -> None:
        with file_lock(path):
            acquired.set()
            release.wait(30)

    waiting = threading.Thread(target=hold_lock)
    with file_lock(path):
        waiting.start()
        time.sleep(0.1)  # so that the thread most likely waits by now; the test is valid in either case
        path.unlink()
    assert acquired.wait(30)
    with pytest.raises(BlockingIOError), file_lock(path, wait=False):
        pass
    release.set()
    waiting.join()


HOLD = """
import sys, time
from pathlib import Path
from edgehone.execution.home import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError), file_lock(path, wait=False):
            pass
        process.kill()
    with file_lock(path, wait=False):
        pass


def test_who_waits_is_told_who_holds_the_lock_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_home, "REPORT_SECONDS", 0.6)
    path = tmp_path / "a.lock"
    told: list[str] = []
    command = [sys.executable, "-c", HOLD, path.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"

        def on_wait(held: str) -> None:
            told.append(held)
            if len(told) == 3:
                process.kill()

        with file_lock(path, on_wait=on_wait):
            # What the killed process left is not taken for the present holder.
            assert holders(path).startswith(f"this run (process {os.getpid()}) for ")
    assert holders(path) == "another process"
    who = rf"held by -c a\.lock \(process {process.pid}\) for \d+ s"
    assert [re.fullmatch(rf"{who}(; waited \d+ s)?", one) is not None for one in told] == [True] * 3, told
    assert "waited" not in told[0] and told[2].endswith("; waited 1 s")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lock"]


def test_all_who_share_a_lock_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with file_lock(path, shared=True), file_lock(path, shared=True):
        assert holders(path).endswith(" s and 1 more")


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
