"""Makers of toolchains for the tests of environments: run by an environment's Python."""

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
    """Makes a tool; prints and lets a child print what must not be taken for a message."""
    progress("compiling [1/2]")
    print("chatter of the maker")
    subprocess.run([sys.executable, "-c", "print('chatter of a child')"], check=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "tool").write_text("tool")
    (folder / "python.txt").write_text(sys.executable)
    (folder / "modules.txt").write_text("\n".join(sys.modules))
    if note := os.environ.get("MAKER_NOTES"):
        with Path(note).open("a", encoding="utf-8") as notes:
            notes.write("made\n")
    progress("compiling [2/2]")
    return {"tool": "7.1"}


def silent(folder: Path, progress: Progress) -> None:
    """Makes a tool and tells nothing."""
    (folder / "tool").write_text("tool")


def without_compiler(folder: Path, progress: Progress) -> None:
    """Lacks something, and says what to do."""
    (folder / "half").write_text("half")
    raise SetupError("no C++ compiler", hint="apt-get install g++")


def does_not_compile(folder: Path, progress: Progress) -> None:
    """Fails, and names a log of its own in the folder that is not kept."""
    log = folder / "build.log"
    log.write_text("fatal error: no <vector>")
    raise SetupError(f"it does not compile (log: {log})")


def broken(folder: Path, progress: Progress) -> None:
    """Has a bug."""
    raise ValueError("unexpected")


def crashes(folder: Path, progress: Progress) -> None:
    """Dies with no more than a word."""
    print("the last words", flush=True)
    os.abort()


def sees_neighbours(folder: Path, progress: Progress) -> dict[str, str]:
    """Tells which of the core's own packages it could import."""
    seen = {}
    for name in ("rich", "uv", "iniconfig"):
        try:
            importlib.import_module(name)
            seen[name] = "yes"
        except ModuleNotFoundError:
            seen[name] = "no"
    return seen


def never_ends(folder: Path, progress: Progress) -> None:
    """Is killed, with the process that started it or before."""
    (folder / "begun").write_text("begun")
    progress(f"pid {os.getpid()}")
    time.sleep(600)
