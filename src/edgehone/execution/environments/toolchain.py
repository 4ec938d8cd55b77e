"""Toolchains: programs that no Python package contains, compiled once by an environment's Python into a managed folder.

The name of the folder contains a digest of all that it depends on: the code of the module that makes it, the platform
and the instruction sets of the CPU. Another lock of Python packages does not compile it again. The folder is renamed
after it was filled, so its programs must find their libraries by relative paths ($ORIGIN).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from edgehone.core.errors import SetupError
from edgehone.execution.environments import managed_folder
from edgehone.execution.environments.managed_folder import FolderState
from edgehone.execution.failure_cause import root_cause
from edgehone.execution.home import home, home_path
from edgehone.execution.source_digest import module_digest, package_path
from edgehone.execution.subprocesses import clean, run_lines


def folder_of(name: str, call: str, args: Sequence[str] = ()) -> Path:
    """Return the folder of a backend's toolchain that the function `call` (`module:function`) makes with `args`."""
    return home_path() / "toolchains" / f"{name}-{digest(call, args)}"


def digest(call: str, args: Sequence[str] = ()) -> str:
    """Return 12 hex digits of all that a toolchain depends on: its maker's code and arguments, the platform, the CPU.

    Comments and docstrings of the module do not count, nor do modules that it imports: the maker's module itself has
    to contain all that determines the toolchain (versions, flags, what is copied where).
    Raises SetupError if the module cannot be found.
    """
    module = call.partition(":")[0]
    if importlib.util.find_spec(module) is None:
        raise SetupError(
            f"the module '{module}' cannot be found", hint="install the package of the backend again"
        )
    parts = (module_digest(module), call, *args, sys.platform, platform.machine(), _cpu())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def ensure(
    name: str, call: str, python: Path, on_progress: Callable[[str], None], args: Sequence[str] = ()
) -> FolderState:
    """Return the toolchain's state, after `python` has made it if it was missing or broken.

    `args` are further arguments of the maker, after the folder and the callback. Raises SetupError with the maker's own
    message or the root cause, and the path of the whole log.
    """
    folder = folder_of(name, call, args)
    if (present := managed_folder.check(folder)).state == "ready":
        return present
    return managed_folder.create(
        folder,
        home() / "locks" / f"toolchain-{name}.lock",
        lambda partial: _run_maker(name, call, python, partial, on_progress, args),
        managed_folder.check,
        on_progress,
    )


def _run_maker(
    name: str,
    call: str,
    python: Path,
    folder: Path,
    on_progress: Callable[[str], None],
    args: Sequence[str],
) -> dict[str, str]:
    """The parent's side: start a child that fills the folder, forward its progress, return the versions it reports."""
    log = home() / "logs" / f"toolchain-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # edgehone first, because a backend's own package imports it.
    tops = dict.fromkeys(("edgehone", call.partition(":")[0].partition(".")[0]))
    packages = {top: str(package_path(top)) for top in tops}
    start = {
        "packages": packages,
        "call": "edgehone.execution.environments.toolchain_child:make",
        "args": [call, str(folder), *args],
    }
    command = [str(python), "-I", str(Path(__file__).parent.parent / "bootstrap.py"), json.dumps(start)]
    outcome: dict[str, Any] = {}

    def on_line(line: str) -> None:
        message = json.loads(line)
        if "progress" in message:
            on_progress(message["progress"])
        else:
            outcome.update(message)

    with log.open("wb") as out:
        code = run_lines(command, on_line, env=clean(os.environ), cwd=folder, stderr=out)
    again = f"edgehone backends install {name}" if not args else "run the same command again"
    if "error" in outcome:
        error = outcome["error"]
        raise SetupError(_save_logs(name, folder, error["message"]), hint=error["hint"] or again)
    if "versions" not in outcome:
        cause = root_cause(log.read_text("utf-8", "replace"))
        raise SetupError(
            f"the toolchain of {name} could not be built: {cause or f'exit code {code}'} (log: {log})",
            hint=again,
        )
    versions: dict[str, str] = outcome["versions"]
    return versions


def _save_logs(name: str, folder: Path, message: str) -> str:
    """Save the maker's own logs, *.log, from a folder that will be removed. Return the message with their new paths."""
    for log in sorted(folder.glob("*.log")):
        saved = home() / "logs" / f"toolchain-{name}-{log.name}"
        shutil.copyfile(log, saved)
        message = message.replace(str(log), str(saved))
    return message


@cache
def _cpu() -> str:
    """Return the instruction sets of the CPU, as far as the system reports them, for which programs are compiled."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return platform.processor()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return " ".join(sorted(value.split()))
    return platform.processor()
