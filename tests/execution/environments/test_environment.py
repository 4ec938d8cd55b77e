"""Environments, made by the real uv from a tiny lock: made once, noticed when broken, the user's own."""

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


def silent(what: str) -> None:
    """Nobody listens."""


@pytest.fixture
def needs(tmp_path: Path, own_home: Path) -> Needs:
    """A lock of one small package, and a home of the test's own."""
    lock = tmp_path / "lock.txt"
    lock.write_text(f"# what it is for\n{PACKAGE}==2.3.0\ncolorama==0.4.6 ; sys_platform == 'win32'\n")
    return Needs(lock=lock, versions=("Iniconfig",))


def folder_of(own_home: Path, kind: str = "envs") -> Path:
    folders = list((own_home / kind).iterdir())
    assert len(folders) == 1, folders
    return folders[0]


def module_of(env: environment.Env) -> Path:
    told = subprocess.run(
        [env.python, "-I", "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(told.stdout.strip())


def test_an_environment_is_made_with_progress_and_used_again(needs: Needs, own_home: Path) -> None:
    assert state("tiny", needs).state == "missing"
    heard: list[str] = []
    env = ensure("tiny", needs, heard.append)
    assert module_of(env).is_relative_to(own_home / "envs")
    assert env.versions == {"Iniconfig": "2.3.0"}
    assert any(line.startswith("Installed 1 package") for line in heard)

    heard.clear()
    assert ensure("tiny", needs, heard.append) == env
    assert heard == []
    now = state("tiny", needs)
    assert (now.state, now.versions) == ("ready", {"Iniconfig": "2.3.0"})
    assert now.bytes is not None and now.bytes > 10_000


def test_it_holds_nothing_of_the_core(needs: Needs) -> None:
    env = ensure("tiny", needs, silent)
    asked = [str(env.python), "-I", "-c", "import numpy"]
    assert b"No module named 'numpy'" in subprocess.run(asked, capture_output=True, check=False).stderr


def test_its_scripts_and_its_python_know_where_they_are_now(needs: Needs, own_home: Path) -> None:
    env = ensure("tiny", needs, silent)
    told = subprocess.run(
        [env.python, "-I", "-c", "import sys; print(sys.prefix)"], capture_output=True, check=True
    )
    assert Path(told.stdout.decode().strip()) == folder_of(own_home)


def test_another_lock_is_another_environment(needs: Needs, tmp_path: Path) -> None:
    first = ensure("tiny", needs, silent)
    other = tmp_path / "other.txt"
    other.write_text(f"{PACKAGE}==2.1.0\n")
    second = ensure("tiny", Needs(lock=other, versions=(PACKAGE,)), silent)
    assert second.versions == {PACKAGE: "2.1.0"}
    assert second.python != first.python and second.digest != first.digest
    assert ensure("tiny", needs, silent) == first


def test_bytecode_that_comes_later_does_not_matter(needs: Needs) -> None:
    env = ensure("tiny", needs, silent)
    assert list(module_of(env).parent.glob("__pycache__/*"))
    assert state("tiny", needs).state == "ready"


def test_a_file_that_goes_missing_is_noticed_and_the_environment_made_again(needs: Needs) -> None:
    env = ensure("tiny", needs, silent)
    module_of(env).unlink()
    now = state("tiny", needs)
    assert now.state == "broken" and "__init__.py is gone" in now.reason
    heard: list[str] = []
    again = ensure("tiny", needs, heard.append)
    assert again == env and module_of(again).exists()
    assert any("making it again" in line for line in heard)


def test_a_truncated_file_is_noticed_and_mended_in_uvs_cache_too(
    needs: Needs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # uv links the files of its cache into environments: to truncate one is to truncate the other.
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("UV_LINK_MODE", "hardlink")
    module = module_of(ensure("tiny", needs, silent))
    size = module.stat().st_size
    os.truncate(module, 10)
    now = state("tiny", needs)
    assert now.state == "broken" and f"has 10 bytes, not {size}" in now.reason
    heard: list[str] = []
    assert module_of(ensure("tiny", needs, heard.append)).stat().st_size == size
    assert "fetching again what uv's cache has lost: iniconfig" in heard
    assert state("tiny", needs).state == "ready"


def test_a_folder_without_marker_is_made_again(needs: Needs, own_home: Path) -> None:
    ensure("tiny", needs, silent)
    (folder_of(own_home) / "edgehone-made.json").unlink()
    now = state("tiny", needs)
    assert now.state == "broken" and "was not finished" in now.reason
    ensure("tiny", needs, silent)
    assert state("tiny", needs).state == "ready"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"versions": {}}', '{"versions": 1, "files": 2}', "\x00"]
)
def test_a_marker_that_cannot_be_read_is_noticed(content: str, needs: Needs, own_home: Path) -> None:
    ensure("tiny", needs, silent)
    (folder_of(own_home) / "edgehone-made.json").write_text(content)
    assert state("tiny", needs).state == "broken"
    ensure("tiny", needs, silent)
    assert state("tiny", needs).state == "ready"


def test_a_python_that_is_gone_is_noticed(needs: Needs, own_home: Path) -> None:
    env = ensure("tiny", needs, silent)
    target = env.python.readlink()
    env.python.unlink()
    env.python.symlink_to(
        "/gone" + str(target)[len("/gone") :].replace("/", "x")
    )  # a link of the same length
    assert "points to /gone" in state("tiny", needs).reason
    assert ensure("tiny", needs, silent) == env
    assert state("tiny", needs).state == "ready"


def test_what_was_left_half_made_is_swept(needs: Needs, own_home: Path) -> None:
    ensure("tiny", needs, silent)
    folder = folder_of(own_home)
    folder.rename(folder.with_name(folder.name + ".partial-left"))
    assert state("tiny", needs).state == "missing"
    ensure("tiny", needs, silent)
    assert folder_of(own_home) == folder


# What another process does: it tells its progress, and kills itself where it is told to.
OTHER = """
import os, signal, sys
from pathlib import Path
from edgehone.backends.base import Needs
from edgehone.execution.environments.environment import ensure

def tell(what):
    print(what, flush=True)
    if len(sys.argv) > 2 and sys.argv[2] in what:
        os.kill(os.getpid(), signal.SIGKILL)

ensure("tiny", Needs(lock=Path(sys.argv[1])), tell)
"""


def start_other(needs: Needs, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OTHER, str(needs.lock), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_install_once(needs: Needs, own_home: Path) -> None:
    # Both stand before the door when it opens.
    with file_lock(own_home / "locks" / "env-tiny.lock"):
        others = [start_other(needs) for _ in range(2)]
        lines = [other.stdout.readline() + other.stdout.readline() for other in others if other.stdout]
        assert all("waiting for another process" in line for line in lines)
    told = [other.communicate(timeout=120)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0]
    assert sum("Installed 1 package" in text for text in told) == 1
    assert state("tiny", needs).state == "ready"
    assert len(list((own_home / "envs").iterdir())) == 1


@pytest.mark.parametrize("moment", ["installing", "Resolved", "Installed"])
def test_after_a_kill_in_the_middle_the_next_one_makes_it(moment: str, needs: Needs, own_home: Path) -> None:
    other = start_other(needs, moment)
    other.communicate(timeout=120)
    assert other.returncode == -signal.SIGKILL
    assert state("tiny", needs).state == "missing"
    ensure("tiny", needs, silent)
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
def test_an_index_that_does_not_answer(needs: Needs, own_home: Path) -> None:
    with pytest.raises(SetupError, match=rf"127\.0\.0\.1:9/simple/{PACKAGE}.*Connection refused") as caught:
        ensure("tiny", needs, silent)
    assert "\n" not in caught.value.message
    assert caught.value.hint is not None
    assert "with network, run edgehone backends install tiny" in caught.value.hint
    log = own_home / "logs" / "env-tiny.log"
    assert str(log) in caught.value.message and "tcp connect error" in log.read_text()
    assert list((own_home / "envs").iterdir()) == []


@pytest.mark.usefixtures("unreachable")
def test_once_made_it_needs_no_network(needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as reachable:
        for name in ("PIP_CONFIG_FILE", "PIP_INDEX_URL", "UV_CACHE_DIR"):
            reachable.delenv(name)
        made = ensure("tiny", needs, silent)
    assert ensure("tiny", needs, silent) == made


def test_a_package_that_does_not_exist(needs: Needs, tmp_path: Path) -> None:
    lock = tmp_path / "wrong.txt"
    lock.write_text("edgehone-has-no-such-package==1.0\n")
    with pytest.raises(SetupError, match="edgehone-has-no-such-package") as caught:
        ensure("tiny", Needs(lock=lock), silent)
    assert "\n" not in caught.value.message


def test_a_lock_that_is_gone(needs: Needs, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"gone\.txt"):
        ensure("tiny", Needs(lock=tmp_path / "gone.txt"), silent)
    assert state("tiny", Needs(lock=tmp_path / "gone.txt")).state == "broken"


def test_a_full_disk_is_told(needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> dict[str, str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(installer, "install", full)
    with pytest.raises(SetupError, match="no space left on the disk of") as caught:
        ensure("tiny", needs, silent)
    assert caught.value.hint is not None and "EDGEHONE_HOME" in caught.value.hint


def test_a_home_that_cannot_be_written(needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert needs.lock is not None
    monkeypatch.setenv("EDGEHONE_HOME", str(needs.lock / "below"))
    with pytest.raises(SetupError, match="cannot be installed"):
        ensure("tiny", needs, silent)


def test_without_a_lock_it_is_this_interpreter(own_home: Path) -> None:
    needs = Needs(versions=("numpy", "no-such-package"))
    env = ensure("core", needs, silent)
    assert env.python == Path(sys.executable)
    assert list(env.versions) == ["numpy"]
    assert state("core", needs).state == "own"


def test_remove_takes_all_of_a_backend_and_nothing_else(needs: Needs, own_home: Path) -> None:
    ensure("tiny", needs, silent)
    ensure("tiny-too", needs, silent)
    remove("tiny")
    assert state("tiny", needs).state == "missing"
    assert state("tiny-too", needs).state == "ready"
    remove("tiny")


class TestAnInterpreterOfTheUsersOwn:
    @pytest.fixture
    def other(self, needs: Needs, tmp_path: Path, own_home: Path) -> Path:
        env = ensure("other", needs, silent)
        other = tmp_path / "other"
        shutil.copytree(env.python.parent.parent, other, symlinks=True)
        remove("other")
        return other / "bin" / "python"

    def test_is_used_and_nothing_is_installed(
        self, other: Path, needs: Needs, own_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EDGEHONE_PYTHON_TINY", str(other))
        env = ensure("tiny", needs, silent)
        assert env.python == other and env.versions == {"Iniconfig": "2.3.0"}
        assert state("tiny", needs).state == "own"
        assert list((own_home / "envs").iterdir()) == []

    def test_its_versions_are_part_of_the_digest(
        self, other: Path, needs: Needs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EDGEHONE_PYTHON_TINY", str(other))
        before = ensure("tiny", needs, silent)
        (metadata,) = other.parent.parent.glob("lib/*/site-packages/iniconfig-*.dist-info/METADATA")
        text = metadata.read_text()
        metadata.unlink()  # it may be a link into uv's cache
        metadata.write_text(text.replace("Version: 2.3.0", "Version: 2.9.9"))
        after = ensure("tiny", needs, silent)
        assert after.versions == {"Iniconfig": "2.9.9"} and after.digest != before.digest

    def test_that_lacks_a_package_is_refused(
        self, other: Path, needs: Needs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EDGEHONE_PYTHON_MY_OWN", str(other))
        with pytest.raises(SetupError, match=r"EDGEHONE_PYTHON_MY_OWN=.* has no torch, nncf") as caught:
            ensure("my-own", Needs(needs.lock, versions=("torch", "iniconfig", "nncf")), silent)
        assert caught.value.hint is not None and "unset EDGEHONE_PYTHON_MY_OWN" in caught.value.hint

    def test_that_is_not_there_is_refused(self, needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGEHONE_PYTHON_TINY", "/nowhere/python")
        with pytest.raises(SetupError, match="/nowhere/python is not a Python interpreter"):
            ensure("tiny", needs, silent)
        assert state("tiny", needs).state == "broken"

    @pytest.mark.parametrize("lines", ["exit 3", "echo hello", "echo no >&2; exit 1"])
    def test_that_is_no_python_is_refused(
        self, lines: str, needs: Needs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake = tmp_path / "python"
        fake.write_text(f"#!/bin/sh\n{lines}\n")
        fake.chmod(0o755)
        monkeypatch.setenv("EDGEHONE_PYTHON_TINY", str(fake))
        with pytest.raises(SetupError, match="does not run as a Python interpreter"):
            ensure("tiny", needs, silent)

    def test_that_is_too_old_is_refused(
        self, needs: Needs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake = tmp_path / "python"
        fake.write_text('#!/bin/sh\necho \'{"python": [3, 10, 4], "versions": {}}\'\n')
        fake.chmod(0o755)
        monkeypatch.setenv("EDGEHONE_PYTHON_TINY", str(fake))
        with pytest.raises(SetupError, match=r"is Python 3\.10\.4; 3\.11 or newer is needed"):
            ensure("tiny", needs, silent)
