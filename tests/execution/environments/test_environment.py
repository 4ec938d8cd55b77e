"""Environments installed by uv from a small lock: installed once, repaired when broken, overridden by the user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.backends.base import Needs
from edgehone.core.errors import SetupError
from edgehone.execution.environments import environment, installer
from edgehone.execution.environments.environment import ensure, remove, state
from edgehone.execution.home import file_lock

pytestmark = pytest.mark.real

PACKAGE = "iniconfig"
INDEX_VARIABLES = ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "INDEX", "DEFAULT_INDEX", "INDEX_STRATEGY")


def ignore(doing: str) -> None:
    """Ignore progress."""


@pytest.fixture
def needs(tmp_path: Path, own_home: Path) -> Needs:
    """A lock with one small package, in a separate home."""
    lock = tmp_path / "lock.txt"
    lock.write_text(f"# a comment\n{PACKAGE}==2.3.0\ncolorama==0.4.6 ; sys_platform == 'win32'\n")
    return Needs(lock=lock, versions=("Iniconfig",))


def folder_of(own_home: Path, kind: str = "envs") -> Path:
    folders = list((own_home / kind).iterdir())
    assert len(folders) == 1, folders
    return folders[0]


def module_of(env: environment.Env) -> Path:
    done = subprocess.run(
        [env.python, "-I", "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


def test_an_environment_is_installed_once_and_reports_progress(needs: Needs, own_home: Path) -> None:
    assert state("tiny", needs).state == "missing"
    reported: list[str] = []
    env = ensure("tiny", needs, reported.append)
    assert module_of(env).is_relative_to(own_home / "envs")
    assert env.versions == {"Iniconfig": "2.3.0"}
    assert any(line.startswith("Installed 1 package") for line in reported)

    reported.clear()
    assert ensure("tiny", needs, reported.append) == env
    assert reported == []
    now = state("tiny", needs)
    assert (now.state, now.versions) == ("ready", {"Iniconfig": "2.3.0"})
    assert now.bytes is not None and now.bytes > 10_000


def test_packages_of_the_core_are_not_importable(needs: Needs) -> None:
    env = ensure("tiny", needs, ignore)
    command = [str(env.python), "-I", "-c", "import numpy"]
    assert b"No module named 'numpy'" in subprocess.run(command, capture_output=True, check=False).stderr


def test_its_python_works_after_the_folder_was_renamed(needs: Needs, own_home: Path) -> None:
    env = ensure("tiny", needs, ignore)
    done = subprocess.run(
        [env.python, "-I", "-c", "import sys; print(sys.prefix)"], capture_output=True, check=True
    )
    assert Path(done.stdout.decode().strip()) == folder_of(own_home)


def test_another_lock_is_another_environment(needs: Needs, tmp_path: Path) -> None:
    first = ensure("tiny", needs, ignore)
    other = tmp_path / "other.txt"
    other.write_text(f"{PACKAGE}==2.1.0\n")
    second = ensure("tiny", Needs(lock=other, versions=(PACKAGE,)), ignore)
    assert second.versions == {PACKAGE: "2.1.0"}
    assert second.python != first.python and second.digest != first.digest
    assert ensure("tiny", needs, ignore) == first


def test_bytecode_that_is_added_later_does_not_matter(needs: Needs) -> None:
    env = ensure("tiny", needs, ignore)
    assert list(module_of(env).parent.glob("__pycache__/*"))
    assert state("tiny", needs).state == "ready"


def test_an_environment_with_a_missing_file_is_installed_again(needs: Needs) -> None:
    env = ensure("tiny", needs, ignore)
    module_of(env).unlink()
    now = state("tiny", needs)
    assert now.state == "broken" and "__init__.py is missing" in now.reason
    reported: list[str] = []
    again = ensure("tiny", needs, reported.append)
    assert again == env and module_of(again).exists()
    assert any("installing it again" in line for line in reported)


def test_a_truncated_file_is_repaired_in_uvs_cache_too(
    needs: Needs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # uv links files of its cache into environments, so truncating one truncates the other.
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("UV_LINK_MODE", "hardlink")
    module = module_of(ensure("tiny", needs, ignore))
    size = module.stat().st_size
    os.truncate(module, 10)
    now = state("tiny", needs)
    assert now.state == "broken" and f"has 10 bytes, not {size}" in now.reason
    reported: list[str] = []
    assert module_of(ensure("tiny", needs, reported.append)).stat().st_size == size
    assert "downloading again, because uv's cache is damaged: iniconfig" in reported
    assert state("tiny", needs).state == "ready"


def test_a_folder_without_a_marker_is_installed_again(needs: Needs, own_home: Path) -> None:
    ensure("tiny", needs, ignore)
    (folder_of(own_home) / "edgehone-made.json").unlink()
    now = state("tiny", needs)
    assert now.state == "broken" and "is incomplete" in now.reason
    ensure("tiny", needs, ignore)
    assert state("tiny", needs).state == "ready"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"versions": {}}', '{"versions": 1, "files": 2}', "\x00"]
)
def test_a_folder_with_an_unreadable_marker_is_installed_again(
    content: str, needs: Needs, own_home: Path
) -> None:
    ensure("tiny", needs, ignore)
    (folder_of(own_home) / "edgehone-made.json").write_text(content)
    assert state("tiny", needs).state == "broken"
    ensure("tiny", needs, ignore)
    assert state("tiny", needs).state == "ready"


def test_an_environment_whose_base_python_was_removed_is_installed_again(
    needs: Needs, own_home: Path
) -> None:
    env = ensure("tiny", needs, ignore)
    target = env.python.readlink()
    env.python.unlink()
    env.python.symlink_to(
        "/gone" + str(target)[len("/gone") :].replace("/", "x")
    )  # a link of the same length
    assert "points to /gone" in state("tiny", needs).reason
    assert ensure("tiny", needs, ignore) == env
    assert state("tiny", needs).state == "ready"


def test_an_incomplete_folder_is_removed(needs: Needs, own_home: Path) -> None:
    ensure("tiny", needs, ignore)
    folder = folder_of(own_home)
    folder.rename(folder.with_name(folder.name + ".partial-left"))
    assert state("tiny", needs).state == "missing"
    ensure("tiny", needs, ignore)
    assert folder_of(own_home) == folder


# Another process: it prints its progress, and kills itself when the progress contains its second argument.
OTHER = """
import os, signal, sys
from pathlib import Path
from edgehone.backends.base import Needs
from edgehone.execution.environments.environment import ensure

def report(doing):
    print(doing, flush=True)
    if len(sys.argv) > 2 and sys.argv[2] in doing:
        os.kill(os.getpid(), signal.SIGKILL)

ensure("tiny", Needs(lock=Path(sys.argv[1])), report)
"""


def start_other(needs: Needs, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OTHER, str(needs.lock), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_install_once(needs: Needs, own_home: Path) -> None:
    # Both processes wait for the lock when it is released.
    with file_lock(own_home / "locks" / "env-tiny.lock"):
        others = [start_other(needs) for _ in range(2)]
        lines = [other.stdout.readline() + other.stdout.readline() for other in others if other.stdout]
        assert all("waiting: it is being installed already" in line for line in lines)
    outputs = [other.communicate(timeout=120)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0]
    assert sum("Installed 1 package" in text for text in outputs) == 1
    assert state("tiny", needs).state == "ready"
    assert len(list((own_home / "envs").iterdir())) == 1


@pytest.mark.parametrize("moment", ["installing", "Resolved", "Installed"])
def test_an_installation_that_was_killed_is_repeated_by_the_next_process(
    moment: str, needs: Needs, own_home: Path
) -> None:
    other = start_other(needs, moment)
    other.communicate(timeout=120)
    assert other.returncode == -signal.SIGKILL
    assert state("tiny", needs).state == "missing"
    ensure("tiny", needs, ignore)
    assert state("tiny", needs).state == "ready"
    assert ".partial-" not in folder_of(own_home).name


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No package index answers, and uv's cache is empty."""
    for name in INDEX_VARIABLES:
        monkeypatch.delenv(f"PIP_{name}", raising=False)
        monkeypatch.delenv(f"UV_{name}", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))


@pytest.mark.usefixtures("unreachable")
def test_a_package_index_that_cannot_be_reached_is_an_error(needs: Needs, own_home: Path) -> None:
    with pytest.raises(SetupError, match=rf"127\.0\.0\.1:9/simple/{PACKAGE}.*Connection refused") as caught:
        ensure("tiny", needs, ignore)
    assert "\n" not in caught.value.message
    assert caught.value.hint is not None
    assert "with network, run edgehone backends install tiny" in caught.value.hint
    log = own_home / "logs" / "env-tiny.log"
    assert str(log) in caught.value.message and "tcp connect error" in log.read_text()
    assert list((own_home / "envs").iterdir()) == []


@pytest.mark.usefixtures("unreachable")
def test_an_installed_environment_needs_no_network(needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as reachable:
        for name in ("PIP_CONFIG_FILE", "PIP_INDEX_URL", "UV_CACHE_DIR"):
            reachable.delenv(name)
        env = ensure("tiny", needs, ignore)
    assert ensure("tiny", needs, ignore) == env


def test_a_package_that_does_not_exist_is_an_error(needs: Needs, tmp_path: Path) -> None:
    lock = tmp_path / "wrong.txt"
    lock.write_text("edgehone-has-no-such-package==1.0\n")
    with pytest.raises(SetupError, match="edgehone-has-no-such-package") as caught:
        ensure("tiny", Needs(lock=lock), ignore)
    assert "\n" not in caught.value.message


def test_a_missing_lock_is_an_error(needs: Needs, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"gone\.txt"):
        ensure("tiny", Needs(lock=tmp_path / "gone.txt"), ignore)
    assert state("tiny", Needs(lock=tmp_path / "gone.txt")).state == "broken"


def test_a_full_disk_is_an_error_with_a_hint(needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> dict[str, str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(installer, "install", full)
    with pytest.raises(SetupError, match="no space left on the disk of") as caught:
        ensure("tiny", needs, ignore)
    assert caught.value.hint is not None and "EDGEHONE_HOME" in caught.value.hint


def test_a_home_that_cannot_be_written_is_an_error(needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert needs.lock is not None
    monkeypatch.setenv("EDGEHONE_HOME", str(needs.lock / "below"))
    with pytest.raises(SetupError, match="cannot be created"):
        ensure("tiny", needs, ignore)


def test_without_a_lock_this_interpreter_is_used(own_home: Path) -> None:
    needs = Needs(versions=("numpy", "no-such-package"))
    env = ensure("core", needs, ignore)
    assert env.python == Path(sys.executable)
    assert list(env.versions) == ["numpy"]
    assert state("core", needs).state == "own"


def test_remove_removes_all_of_a_backend_and_nothing_else(needs: Needs, own_home: Path) -> None:
    ensure("tiny", needs, ignore)
    ensure("tiny-too", needs, ignore)
    remove("tiny")
    assert state("tiny", needs).state == "missing"
    assert state("tiny-too", needs).state == "ready"
    remove("tiny")


class TestAnInterpreterThatAVariableNames:
    @pytest.fixture
    def other(self, needs: Needs, tmp_path: Path, own_home: Path) -> Path:
        env = ensure("other", needs, ignore)
        other = tmp_path / "other"
        shutil.copytree(env.python.parent.parent, other, symlinks=True)
        remove("other")
        return other / "bin" / "python"

    def test_is_used_and_nothing_is_installed(
        self, other: Path, needs: Needs, own_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EDGEHONE_PYTHON_TINY", str(other))
        env = ensure("tiny", needs, ignore)
        assert env.python == other and env.versions == {"Iniconfig": "2.3.0"}
        assert state("tiny", needs).state == "own"
        assert list((own_home / "envs").iterdir()) == []

    def test_its_versions_are_part_of_the_digest(
        self, other: Path, needs: Needs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EDGEHONE_PYTHON_TINY", str(other))
        before = ensure("tiny", needs, ignore)
        (metadata,) = other.parent.parent.glob("lib/*/site-packages/iniconfig-*.dist-info/METADATA")
        text = metadata.read_text()
        metadata.unlink()  # it may be a link into uv's cache
        metadata.write_text(text.replace("Version: 2.3.0", "Version: 2.9.9"))
        after = ensure("tiny", needs, ignore)
        assert after.versions == {"Iniconfig": "2.9.9"} and after.digest != before.digest

    def test_is_refused_if_it_lacks_a_package(
        self, other: Path, needs: Needs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EDGEHONE_PYTHON_MY_OWN", str(other))
        with pytest.raises(SetupError, match=r"EDGEHONE_PYTHON_MY_OWN=.* has no torch, nncf") as caught:
            ensure("my-own", Needs(needs.lock, versions=("torch", "iniconfig", "nncf")), ignore)
        assert caught.value.hint is not None and "unset EDGEHONE_PYTHON_MY_OWN" in caught.value.hint

    def test_is_refused_if_it_does_not_exist(self, needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGEHONE_PYTHON_TINY", "/nowhere/python")
        with pytest.raises(SetupError, match="/nowhere/python is not a Python interpreter"):
            ensure("tiny", needs, ignore)
        assert state("tiny", needs).state == "broken"

    @pytest.mark.parametrize("lines", ["exit 3", "echo hello", "echo no >&2; exit 1"])
    def test_is_refused_if_it_is_not_a_python(
        self, lines: str, needs: Needs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake = tmp_path / "python"
        fake.write_text(f"#!/bin/sh\n{lines}\n")
        fake.chmod(0o755)
        monkeypatch.setenv("EDGEHONE_PYTHON_TINY", str(fake))
        with pytest.raises(SetupError, match="does not run as a Python interpreter"):
            ensure("tiny", needs, ignore)

    def test_is_refused_if_it_is_too_old(
        self, needs: Needs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake = tmp_path / "python"
        fake.write_text('#!/bin/sh\necho \'{"python": [3, 10, 4], "versions": {}}\'\n')
        fake.chmod(0o755)
        monkeypatch.setenv("EDGEHONE_PYTHON_TINY", str(fake))
        with pytest.raises(SetupError, match=r"is Python 3\.10\.4; 3\.11 or newer is needed"):
            ensure("tiny", needs, ignore)
