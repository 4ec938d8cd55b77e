"""Toolchains: compiled once by an environment's Python, kept apart from it, made again when broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.backends.base import Needs
from edgehone.core.errors import SetupError
from edgehone.execution.environments import toolchain
from edgehone.execution.environments.environment import ensure, remove, state
from edgehone.execution.processes import resident_bytes


@pytest.fixture(autouse=True)
def _makers_can_be_found(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def needs(maker: str, lock: Path | None = None) -> Needs:
    return Needs(lock=lock, toolchain=f"toolchainmakers:{maker}")


def silent(what: str) -> None:
    """Nobody listens."""


def test_it_is_made_with_progress_and_used_again(own_home: Path) -> None:
    assert state("tiny", needs("good")).state == "missing"
    heard: list[str] = []
    env = ensure("tiny", needs("good"), heard.append)
    assert env.toolchain is not None and (env.toolchain / "bin" / "tool").read_text() == "tool"
    assert env.toolchain.parent == own_home / "toolchains"
    assert heard == ["compiling [1/2]", "compiling [2/2]"]
    assert env.versions == {"tool": "7.1"}

    heard.clear()
    assert ensure("tiny", needs("good"), heard.append) == env
    assert heard == []
    assert state("tiny", needs("good")).versions == {"tool": "7.1"}


def test_what_a_maker_prints_is_in_the_log(own_home: Path) -> None:
    ensure("tiny", needs("good"), silent)
    log = (own_home / "logs" / "toolchain-tiny.log").read_text()
    assert "chatter of the maker" in log and "chatter of a child" in log


def test_a_maker_that_tells_no_versions(own_home: Path) -> None:
    assert ensure("tiny", needs("silent"), silent).versions == {}


def test_a_missing_compiler_is_told_in_the_makers_words_with_its_hint(own_home: Path) -> None:
    with pytest.raises(SetupError) as caught:
        ensure("tiny", needs("without_compiler"), silent)
    assert (caught.value.message, caught.value.hint) == ("no C++ compiler", "apt-get install g++")
    assert list((own_home / "toolchains").iterdir()) == []


def test_the_log_that_a_maker_names_outlives_the_folder(own_home: Path) -> None:
    kept = own_home / "logs" / "toolchain-tiny-build.log"
    with pytest.raises(SetupError) as caught:
        ensure("tiny", needs("does_not_compile"), silent)
    assert caught.value.message == f"it does not compile (log: {kept})"
    assert kept.read_text() == "fatal error: no <vector>"
    assert list((own_home / "toolchains").iterdir()) == []


def test_a_makers_bug_is_told_and_logged(own_home: Path) -> None:
    with pytest.raises(SetupError, match="toolchainmakers:broken failed: ValueError: unexpected"):
        ensure("tiny", needs("broken"), silent)
    assert "Traceback" in (own_home / "logs" / "toolchain-tiny.log").read_text()


def test_a_maker_that_dies_is_told_with_the_log(own_home: Path) -> None:
    with pytest.raises(SetupError, match=r"the last words \(log: .*toolchain-tiny\.log") as caught:
        ensure("tiny", needs("crashes"), silent)
    assert caught.value.hint == "edgehone backends install tiny"


def test_a_broken_one_is_made_again(own_home: Path) -> None:
    env = ensure("tiny", needs("good"), silent)
    assert env.toolchain is not None
    (env.toolchain / "bin" / "tool").write_text("")
    now = state("tiny", needs("good"))
    assert now.state == "broken" and "its toolchain: " in now.reason
    assert ensure("tiny", needs("good"), silent) == env
    assert (env.toolchain / "bin" / "tool").read_text() == "tool"


def test_remove_takes_it_too(own_home: Path) -> None:
    ensure("tiny", needs("good"), silent)
    remove("tiny")
    assert state("tiny", needs("good")).state == "missing"


def test_a_changed_maker_is_another_toolchain(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "changingmaker.py"
    source.write_text("def make(folder, progress):\n    (folder / 'tool').write_text('1')\n")
    given = Needs(toolchain="changingmaker:make")
    first = ensure("tiny", given, silent)
    source.write_text("def make(folder, progress):\n    (folder / 'tool').write_text('22')\n")
    second = ensure("tiny", given, silent)
    assert first.digest != second.digest
    assert second.toolchain is not None and (second.toolchain / "tool").read_text() == "22"


def test_another_cpu_is_another_toolchain(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = "toolchainmakers:good"
    here = toolchain.digest(call)
    monkeypatch.setattr(toolchain, "_cpu", lambda: "sse2")
    assert toolchain.digest(call) != here


def test_a_maker_that_cannot_be_found(own_home: Path) -> None:
    with pytest.raises(SetupError, match="'nosuchmaker' cannot be found"):
        ensure("tiny", Needs(toolchain="nosuchmaker:make"), silent)
    assert state("tiny", Needs(toolchain="nosuchmaker:make")).state == "broken"


@pytest.mark.real
def test_it_is_made_by_the_environments_python_which_sees_nothing_of_the_core(
    own_home: Path, tmp_path: Path
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("iniconfig==2.3.0\n")
    env = ensure("tiny", needs("sees_neighbours", lock), silent)
    assert env.versions == {"rich": "no", "uv": "no", "iniconfig": "yes"}


@pytest.mark.real
def test_another_lock_does_not_compile_it_again(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKER_NOTES", str(tmp_path / "notes"))
    lock = tmp_path / "lock.txt"
    lock.write_text("iniconfig==2.3.0\n")
    first = ensure("tiny", needs("good", lock), silent)
    lock.write_text("iniconfig==2.1.0\n")
    second = ensure("tiny", needs("good", lock), silent)
    assert first.python != second.python and first.toolchain == second.toolchain
    assert (tmp_path / "notes").read_text() == "made\n"


OTHER = """
from edgehone.backends.base import Needs
from edgehone.execution.environments.environment import ensure
ensure("tiny", Needs(toolchain="toolchainmakers:never_ends"), lambda what: print(what, flush=True))
"""


def test_a_compilation_ends_with_the_process_that_waits_for_it(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join([str(Path(__file__).parent), *filter(None, sys.path)]))
    with subprocess.Popen([sys.executable, "-c", OTHER], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        maker = int(other.stdout.readline().removeprefix("pid "))
        assert resident_bytes(maker) > 0
        other.kill()
        # Its standard output was our pipe's other end no longer: we hear when the last holder is gone.
        other.stdout.read()
    for _ in range(100):
        if resident_bytes(maker) == 0:
            break
        subprocess.run(["sleep", "0.1"], check=True)
    assert resident_bytes(maker) == 0


def test_a_folder_of_the_users_own(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "llama.cpp"
    (mine / ".git").mkdir(parents=True)
    (mine / "tool").write_text("mine")
    monkeypatch.setenv("EDGEHONE_TOOLCHAIN_TINY", str(mine))
    env = ensure("tiny", needs("good"), silent)
    assert env.toolchain == mine
    assert state("tiny", needs("good")).state == "own"
    assert not (own_home / "toolchains").exists()

    (mine / ".git" / "index").write_text("fetched")
    assert ensure("tiny", needs("good"), silent).digest == env.digest
    (mine / "tool").write_text("rebuilt")
    assert ensure("tiny", needs("good"), silent).digest != env.digest


def test_a_folder_that_is_not_there(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEHONE_TOOLCHAIN_TINY", "/nowhere/llama.cpp")
    with pytest.raises(SetupError, match=r"EDGEHONE_TOOLCHAIN_TINY=/nowhere/llama\.cpp is not a folder"):
        ensure("tiny", needs("good"), silent)
    assert state("tiny", needs("good")).state == "broken"


def test_the_child_loads_only_the_standard_library_and_edgehone() -> None:
    code = (
        "import sys; before = set(sys.modules); import edgehone.execution.environments.toolchain_child; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {*sys.stdlib_module_names, "edgehone"}
