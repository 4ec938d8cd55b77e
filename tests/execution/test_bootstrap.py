"""A child imports edgehone without it being installed, and nothing that is installed beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import edgehone
from edgehone.execution import bootstrap

SCRIPT = Path(bootstrap.__file__)


def run(packages: dict[str, Path], call: str, *args: str) -> subprocess.CompletedProcess[str]:
    start = {"packages": {name: str(path) for name, path in packages.items()}, "call": call, "args": args}
    command = [sys.executable, "-I", "-S", str(SCRIPT), json.dumps(start)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a module beside it that must not become importable."""
    (tmp_path / "neighbour.py").touch()
    folder = tmp_path / "other_name"
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text("VALUE = 7\n")
    (folder / "sub" / "__init__.py").touch()
    (folder / "sub" / "calls.py").write_text(
        "import importlib.util\n"
        "from guest import VALUE\n"
        "def say(word):\n    print(word, VALUE, importlib.util.find_spec('neighbour'))\n"
    )
    return folder


def test_a_function_is_called_and_modules_beside_its_package_are_not_importable(package: Path) -> None:
    done = run({"guest": package}, "guest.sub.calls:say", "hello")
    assert (done.stdout, done.stderr) == ("hello 7 None\n", "")


def test_a_single_module_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def say(word):\n    print(word)\n")
    assert run({"one": tmp_path / "one.py"}, "one:say", "hi").stdout == "hi\n"


@pytest.mark.parametrize("name", ["gone", "empty", "text.txt"])
def test_a_path_that_is_not_a_package_is_an_import_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no module")
    with pytest.raises(ImportError, match=name):
        bootstrap.load_package("no_package_of_ours", tmp_path / name)
    assert "no_package_of_ours" not in sys.modules


@pytest.mark.parametrize("proc", ["/proc", "/nowhere"], ids=["with /proc", "with ps"])
def test_the_session_ends_when_standard_input_closes(proc: str) -> None:
    program = (
        "import pathlib, subprocess, sys, time\n"
        "from edgehone.execution import bootstrap\n"
        f"bootstrap._PROC = pathlib.Path({proc!r})\n"
        "bootstrap.end_with_parent()\n"
        "subprocess.Popen(['sleep', '600'])\n"
        "subprocess.Popen(['sleep', '600'], process_group=0)\n"
        "print('started', flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdout.readline()
        started = time.monotonic()
        child.stdin.close()
        # The sleeping processes hold the other end of this pipe, so it closes when they have ended too.
        assert child.stdout.read() == b""
        assert child.wait(60) == -9
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    "module", ["edgehone.execution.worker_process", "edgehone.execution.environments.toolchain_child"]
)
def test_what_runs_in_a_backends_environment_imports_the_standard_library_only(module: str) -> None:
    # Without -S, packages that are installed here but not in a backend's environment could be imported.
    done = run({"edgehone": Path(edgehone.__file__).parent}, "importlib:import_module", module)
    assert (done.returncode, done.stderr) == (0, "")
