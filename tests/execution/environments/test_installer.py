"""The arguments that uv gets, and how its output is interpreted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import SetupError
from edgehone.execution.environments import installer
from edgehone.execution.environments.installer import cause, install, normalized

REFUSED = """\
Using Python 3.11.7 environment at: b
error: Request failed after 3 retries in 5.3s
  cause: Failed to fetch: http://127.0.0.1:9/simple/torch/
  cause: error sending request for url (http://127.0.0.1:9/simple/torch/)
  cause: client error (Connect)
  cause: Connection refused (os error 111)
"""
REFUSED_BEFORE = """\
error: Failed to fetch: `http://127.0.0.1:9/simple/torch/`
  Caused by: Request failed after 3 retries
  Caused by: Connection refused (os error 111)
"""
NO_SOLUTION = """\
  × No solution found when resolving dependencies:
  ╰─▶ Because torch was not found in the package registry and you require
      torch==9.9.9, we can conclude that your requirements are unsatisfiable.

      hint: something long
"""
NO_SPACE = """\
error: Failed to install: torch-2.13.0.whl (torch==2.13.0)
  cause: failed to copy file from /a to /b
  cause: No space left on device (os error 28)
"""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            REFUSED,
            "Request failed after 3 retries in 5.3s: Failed to fetch: http://127.0.0.1:9/simple/torch/: "
            "Connection refused (os error 111)",
        ),
        (
            REFUSED_BEFORE,
            "Failed to fetch: `http://127.0.0.1:9/simple/torch/`: Request failed after 3 retries: "
            "Connection refused (os error 111)",
        ),
        (
            NO_SOLUTION,
            "No solution found when resolving dependencies: Because torch was not found in the package registry "
            "and you require torch==9.9.9, we can conclude that your requirements are unsatisfiable.",
        ),
        (NO_SPACE, "No space left on device (os error 28)"),
        ("something else went\nwrong\n\n", "wrong"),
        ("", ""),
    ],
)
def test_the_root_cause_is_found_in_uvs_output(output: str, expected: str) -> None:
    assert cause(output) == expected


@given(st.text(max_size=500))
def test_the_root_cause_of_any_output_is_one_line(output: str) -> None:
    found = cause(output)
    assert len(found.splitlines()) <= 1 and len(found) <= 500


@pytest.mark.parametrize("name", ["Foo_Bar", "foo.bar", "FOO--bar"])
def test_names_are_normalized(name: str) -> None:
    assert normalized(name) == "foo-bar"


@pytest.fixture
def fake_uv(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in place of uv that writes its arguments and variables to a file, one line for each call."""
    script = tmp_path / "uv"
    notes = tmp_path / "notes"
    script.write_text(f'#!/bin/sh\necho "$* | $(env | tr "\\n" " ")" >> {notes}\n')
    script.chmod(0o755)
    monkeypatch.setattr(installer, "find_uv", lambda: str(script))
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return notes


def install_call(notes: Path, tmp_path: Path, lock: str) -> str:
    """Install the lock and return the line of the call that does."""
    (tmp_path / "lock.txt").write_text(lock)
    folder = tmp_path / "folder"
    folder.mkdir()
    install("tiny", tmp_path / "lock.txt", folder, lambda doing: None)
    (call,) = [line for line in notes.read_text().splitlines() if line.startswith("pip install")]
    return call


linux = pytest.mark.skipif(
    sys.platform != "linux", reason="on other systems the index's own torch has no CUDA"
)


@linux
def test_torch_is_installed_without_cuda(fake_uv: Path, tmp_path: Path) -> None:
    assert "--torch-backend cpu" in install_call(fake_uv, tmp_path, "# a comment\nnumpy==2\ntorch==2.13.0\n")


@pytest.mark.parametrize("lock", ["numpy==2\n", "torch-geometric==1\n", "# torch==2\npytorch==1\n"])
def test_a_lock_without_torch_gets_no_torch_backend(lock: str, fake_uv: Path, tmp_path: Path) -> None:
    assert "--torch-backend" not in install_call(fake_uv, tmp_path, lock)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UV_TORCH_BACKEND", "cu126"),
        ("UV_INDEX", "https://torch.example"),
        ("UV_DEFAULT_INDEX", "https://torch.example"),
        ("PIP_FIND_LINKS", "https://torch.example/links"),
        ("PIP_NO_INDEX", "1"),
    ],
)
def test_the_users_choice_of_torchs_source_is_respected(
    name: str, value: str, fake_uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert "--torch-backend" not in install_call(fake_uv, tmp_path, "torch==2.13.0\n")


@linux
@pytest.mark.parametrize(
    ("wheel", "chosen"), [("torch-2.13.0+cpu-any.whl", True), ("numpy-2-any.whl", False)]
)
def test_a_folder_of_wheels_is_a_choice_of_torchs_source_only_if_it_contains_torch(
    wheel: str, chosen: bool, fake_uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / wheel).touch()
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    call = install_call(fake_uv, tmp_path, "torch==2.13.0\n")
    assert ("--torch-backend" not in call) is chosen
    assert f"UV_FIND_LINKS={wheels}" in call


def test_a_password_in_an_index_is_in_no_argument_and_no_log(
    fake_uv: Path, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:secret@index.example/simple")
    arguments, _, variables = install_call(fake_uv, tmp_path, "numpy==2\n").partition(" | ")
    assert "secret" not in arguments and "UV_DEFAULT_INDEX=https://me:secret@" in variables
    assert "secret" not in (own_home / "logs" / "env-tiny.log").read_text()


def test_no_index_is_handed_on(fake_uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "true")
    assert "--no-index" in install_call(fake_uv, tmp_path, "numpy==2\n")


def test_the_callers_virtual_environment_does_not_affect_uv(
    fake_uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere/else")
    monkeypatch.setenv("PYTHONHOME", "/somewhere/else")
    assert "/somewhere/else" not in install_call(fake_uv, tmp_path, "numpy==2\n")


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        (REFUSED, "the package index is needed once"),
        (NO_SPACE, "set EDGEHONE_HOME to a folder on another disk"),
        (NO_SOLUTION, "edgehone backends install tiny"),
        ("", "edgehone backends install tiny"),
    ],
)
def test_a_failure_of_uv_names_the_log_and_a_hint(
    output: str, hint: str, fake_uv: Path, tmp_path: Path, own_home: Path
) -> None:
    (tmp_path / "output").write_text(output)
    (tmp_path / "uv").write_text(f"#!/bin/sh\ncat {tmp_path / 'output'}; exit 2\n")
    with pytest.raises(SetupError) as caught:
        install_call(fake_uv, tmp_path, "numpy==2\n")
    assert caught.value.hint is not None and hint in caught.value.hint
    log = own_home / "logs" / "env-tiny.log"
    assert f"(log: {log})" in caught.value.message and output in log.read_text()
    assert (cause(output) or "uv ended with exit code 2") in caught.value.message


def test_a_missing_uv_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(SetupError, match="uv is not installed") as caught:
        installer.find_uv()
    assert caught.value.hint is not None and caught.value.hint.endswith("-m pip install uv")
