"""Makers of toolchains for tests. They are run by the Python of an environment."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edgehone.core.errors import SetupError

Progress = Callable[[str], None]


def good(folder: Path, progress: Progress) -> dict[str, str]:
    """Make a tool. It and a child print text that must not be taken for a message."""
    progress("compiling [1/2]")
    print("output of the maker")
    subprocess.run([sys.executable, "-c", "print('output of a child')"], check=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "tool").write_text("tool")
    (folder / "python.txt").write_text(sys.executable)
    (folder / "modules.txt").write_text("\n".join(sys.modules))
    if note := os.environ.get("MAKER_NOTES"):
        with Path(note).open("a", encoding="utf-8") as notes:
            notes.write("made\n")
    progress("compiling [2/2]")
    return {"tool": "7.1"}


def without_versions(folder: Path, progress: Progress) -> None:
    """Make a tool and return no versions."""
    (folder / "tool").write_text("tool")


def without_compiler(folder: Path, progress: Progress) -> None:
    """Fail with a hint."""
    (folder / "half").write_text("half")
    raise SetupError("no C++ compiler", hint="apt-get install g++")


def does_not_compile(folder: Path, progress: Progress) -> None:
    """Fail, and name a log in the folder, which will be removed."""
    log = folder / "build.log"
    log.write_text("fatal error: no <vector>")
    raise SetupError(f"it does not compile (log: {log})")


def broken(folder: Path, progress: Progress) -> None:
    """Fail unexpectedly."""
    raise ValueError("unexpected")


def crashes(folder: Path, progress: Progress) -> None:
    """Print a line and crash."""
    print("the last words", flush=True)
    os.abort()


def list_importable(folder: Path, progress: Progress) -> dict[str, str]:
    """Return which packages of the core can be imported."""
    importable = {}
    for name in ("rich", "uv", "iniconfig"):
        try:
            importlib.import_module(name)
            importable[name] = "yes"
        except ModuleNotFoundError:
            importable[name] = "no"
    return importable


def never_ends(folder: Path, progress: Progress) -> None:
    """Run until killed."""
    (folder / "begun").write_text("begun")
    progress(f"pid {os.getpid()}")
    time.sleep(600)
