"""Toolchains: compiled once by an environment's Python, stored apart from it, built again when broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.backends.base import Needs
from edgehone.core.errors import SetupError
from edgehone.execution.environments import toolchain
from edgehone.execution.environments.environment import ensure, remove, state
from edgehone.execution.processes import unreclaimable_bytes


@pytest.fixture(autouse=True)
def _makers_are_importable(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def needs(maker: str, lock: Path | None = None) -> Needs:
    return Needs(lock=lock, toolchain=f"toolchainmakers:{maker}")


def ignore(doing: str) -> None:
    """Ignore progress."""


def test_a_toolchain_is_built_once_and_reports_progress(own_home: Path) -> None:
    assert state("tiny", needs("good")).state == "missing"
    reported: list[str] = []
    env = ensure("tiny", needs("good"), reported.append)
    assert env.toolchain is not None and (env.toolchain / "bin" / "tool").read_text() == "tool"
    assert env.toolchain.parent == own_home / "toolchains"
    assert reported == ["compiling [1/2]", "compiling [2/2]"]
    assert env.versions == {"tool": "7.1"}

    reported.clear()
    assert ensure("tiny", needs("good"), reported.append) == env
    assert reported == []
    assert state("tiny", needs("good")).versions == {"tool": "7.1"}


def test_output_of_a_maker_is_in_the_log(own_home: Path) -> None:
    ensure("tiny", needs("good"), ignore)
    log = (own_home / "logs" / "toolchain-tiny.log").read_text()
    assert "output of the maker" in log and "output of a child" in log


def test_a_maker_may_return_no_versions(own_home: Path) -> None:
    assert ensure("tiny", needs("without_versions"), ignore).versions == {}


def test_an_error_of_the_maker_is_raised_with_its_message_and_hint(own_home: Path) -> None:
    with pytest.raises(SetupError) as caught:
        ensure("tiny", needs("without_compiler"), ignore)
    assert (caught.value.message, caught.value.hint) == ("no C++ compiler", "apt-get install g++")
    assert list((own_home / "toolchains").iterdir()) == []


def test_a_log_that_a_maker_names_is_saved(own_home: Path) -> None:
    saved = own_home / "logs" / "toolchain-tiny-build.log"
    with pytest.raises(SetupError) as caught:
        ensure("tiny", needs("does_not_compile"), ignore)
    assert caught.value.message == f"it does not compile (log: {saved})"
    assert saved.read_text() == "fatal error: no <vector>"
    assert list((own_home / "toolchains").iterdir()) == []


def test_an_unexpected_error_of_a_maker_is_logged(own_home: Path) -> None:
    with pytest.raises(SetupError, match="toolchainmakers:broken failed: ValueError: unexpected"):
        ensure("tiny", needs("broken"), ignore)
    assert "Traceback" in (own_home / "logs" / "toolchain-tiny.log").read_text()


def test_a_maker_that_crashes_is_an_error_with_its_log(own_home: Path) -> None:
    with pytest.raises(SetupError, match=r"the last words \(log: .*toolchain-tiny\.log") as caught:
        ensure("tiny", needs("crashes"), ignore)
    assert caught.value.hint == "edgehone backends install tiny"


def test_a_broken_toolchain_is_built_again(own_home: Path) -> None:
    env = ensure("tiny", needs("good"), ignore)
    assert env.toolchain is not None
    (env.toolchain / "bin" / "tool").write_text("")
    now = state("tiny", needs("good"))
    assert now.state == "broken" and "its toolchain: " in now.reason
    assert ensure("tiny", needs("good"), ignore) == env
    assert (env.toolchain / "bin" / "tool").read_text() == "tool"


def test_remove_removes_the_toolchain(own_home: Path) -> None:
    ensure("tiny", needs("good"), ignore)
    remove("tiny")
    assert state("tiny", needs("good")).state == "missing"


def test_another_code_of_the_maker_is_another_toolchain(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "changingmaker.py"
    source.write_text("def make(folder, progress):\n    (folder / 'tool').write_text('1')\n")
    changing = Needs(toolchain="changingmaker:make")
    first = ensure("tiny", changing, ignore)
    source.write_text("def make(folder, progress):\n    (folder / 'tool').write_text('22')\n")
    second = ensure("tiny", changing, ignore)
    assert first.digest != second.digest
    assert second.toolchain is not None and (second.toolchain / "tool").read_text() == "22"


def test_another_cpu_needs_another_toolchain(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = "toolchainmakers:good"
    digest = toolchain.digest(call)
    monkeypatch.setattr(toolchain, "_cpu", lambda: "sse2")
    assert toolchain.digest(call) != digest


def test_a_missing_maker_is_an_error(own_home: Path) -> None:
    with pytest.raises(SetupError, match="'nosuchmaker' cannot be found"):
        ensure("tiny", Needs(toolchain="nosuchmaker:make"), ignore)
    assert state("tiny", Needs(toolchain="nosuchmaker:make")).state == "broken"


@pytest.mark.real
def test_it_is_built_by_the_environments_python_without_packages_of_the_core(
    own_home: Path, tmp_path: Path
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("iniconfig==2.3.0\n")
    env = ensure("tiny", needs("list_importable", lock), ignore)
    assert env.versions == {"rich": "no", "uv": "no", "iniconfig": "yes"}


@pytest.mark.real
def test_another_lock_does_not_build_it_again(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKER_NOTES", str(tmp_path / "notes"))
    lock = tmp_path / "lock.txt"
    lock.write_text("iniconfig==2.3.0\n")
    first = ensure("tiny", needs("good", lock), ignore)
    lock.write_text("iniconfig==2.1.0\n")
    second = ensure("tiny", needs("good", lock), ignore)
    assert first.python != second.python and first.toolchain == second.toolchain
    assert (tmp_path / "notes").read_text() == "made\n"


OTHER = """
from edgehone.backends.base import Needs
from edgehone.execution.environments.environment import ensure
ensure("tiny", Needs(toolchain="toolchainmakers:never_ends"), lambda doing: print(doing, flush=True))
"""


def test_a_build_ends_together_with_the_process_that_started_it(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join([str(Path(__file__).parent), *filter(None, sys.path)]))
    with subprocess.Popen([sys.executable, "-c", OTHER], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        maker = int(other.stdout.readline().removeprefix("pid "))
        assert unreclaimable_bytes(maker) > 0
        other.kill()
        # Wait until the last process that holds the other end of the pipe has ended.
        other.stdout.read()
    for _ in range(100):
        if unreclaimable_bytes(maker) == 0:
            break
        subprocess.run(["sleep", "0.1"], check=True)
    assert unreclaimable_bytes(maker) == 0


def test_a_variable_names_another_folder(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "llama.cpp"
    (folder / ".git").mkdir(parents=True)
    (folder / "tool").write_text("theirs")
    monkeypatch.setenv("EDGEHONE_TOOLCHAIN_TINY", str(folder))
    env = ensure("tiny", needs("good"), ignore)
    assert env.toolchain == folder
    assert state("tiny", needs("good")).state == "own"
    assert not (own_home / "toolchains").exists()

    (folder / ".git" / "index").write_text("fetched")
    assert ensure("tiny", needs("good"), ignore).digest == env.digest
    (folder / "tool").write_text("rebuilt")
    assert ensure("tiny", needs("good"), ignore).digest != env.digest


def test_a_variable_that_names_no_folder_is_an_error(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEHONE_TOOLCHAIN_TINY", "/nowhere/llama.cpp")
    with pytest.raises(SetupError, match=r"EDGEHONE_TOOLCHAIN_TINY=/nowhere/llama\.cpp is not a folder"):
        ensure("tiny", needs("good"), ignore)
    assert state("tiny", needs("good")).state == "broken"


def test_the_child_loads_only_the_standard_library_and_edgehone() -> None:
    code = (
        "import sys; before = set(sys.modules); import edgehone.execution.environments.toolchain_child; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {*sys.stdlib_module_names, "edgehone"}
