"""Building llama.cpp: error messages. The real tests of the backend build it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgehone.backends.llamacpp import toolchain
from edgehone.core.errors import SetupError


def test_a_missing_compiler_is_reported_before_any_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    heard: list[str] = []
    with pytest.raises(SetupError, match=r"no C\+\+ compiler") as caught:
        toolchain.setup(tmp_path / "toolchain", heard.append)
    assert caught.value.hint in ("apt-get install g++", "xcode-select --install")
    assert heard == []


@pytest.fixture
def fake_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an environment's python; python, cmake and ninja are one shell script that the test writes."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    monkeypatch.setattr("sys.executable", str(scripts / "python"))
    monkeypatch.setattr(toolchain, "_compiler", lambda: "/bin/true")
    return scripts


def script(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_an_unreachable_index_is_reported_with_pips_message(
    fake_python: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script(fake_python / "python", "echo 'ERROR: No matching distribution found'; exit 1")
    with pytest.raises(SetupError, match=r"cannot download llama-cpp-python==.*: ERROR: No matching"):
        toolchain.setup(tmp_path / "toolchain", lambda what: None)
    assert "No matching" in capfd.readouterr().out


def test_a_download_with_a_wrong_digest_is_refused(fake_python: Path, tmp_path: Path) -> None:
    # The ninth argument of `python -m pip download …` is the folder.
    script(fake_python / "python", 'while [ "$1" != -d ]; do shift; done; echo x > "$2/other.tar.gz"')
    with pytest.raises(SetupError, match="has the SHA-256"):
        toolchain.setup(tmp_path / "toolchain", lambda what: None)


def test_a_failed_build_reports_the_compilers_first_error(fake_python: Path, tmp_path: Path) -> None:
    script(
        fake_python / "cmake",
        'case "$*" in *--build*) echo "[1/9] a.cpp"; echo "a.cpp:7: fatal error: no <vector>"; '
        'echo "ninja: build stopped: error"; exit 1;; esac',
    )
    heard: list[str] = []
    with pytest.raises(SetupError, match=r"does not compile: a\.cpp:7: fatal error: no <vector>"):
        toolchain._compile(tmp_path, tmp_path / "build", heard.append)
    assert "compiling llama.cpp [1/9]" in heard


def test_an_unwritable_folder_is_reported(fake_python: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SetupError, match=r"cannot write llama\.cpp into"):
        toolchain.setup(tmp_path / "file", lambda what: None)
