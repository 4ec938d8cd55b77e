"""What no package carries is compiled once, by the environment's Python, into a folder of its own.

The folder depends on the module that makes it, on the platform and on what the CPU can do, and on nothing
else: another lock of Python packages does not compile it again. It is moved after it was made, so whatever
lies in it finds its neighbours by relative paths ($ORIGIN).
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
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from edgehone.core.errors import EdgehoneError, SetupError
from edgehone.execution.bootstrap import end_with_parent
from edgehone.execution.environments import managed_folder
from edgehone.execution.environments.managed_folder import Made
from edgehone.execution.failure_cause import root_cause
from edgehone.execution.home import home
from edgehone.execution.source_digest import module_digest
from edgehone.execution.subprocesses import clean, run_lines


def place(name: str, call: str) -> Path:
    """The folder of a backend's toolchain that the function `call` makes (`module:function`)."""
    return home() / "toolchains" / f"{name}-{digest(call)}"


def digest(call: str) -> str:
    """Return 12 hex digits of all that a toolchain depends on: the code of its maker's module, the platform, the CPU.

    Comments and docstrings of the module do not count, nor do modules that it imports: the maker's module itself has
    to contain all that determines the toolchain (versions, flags, what is copied where).
    Raises SetupError if the module cannot be found.
    """
    module = call.partition(":")[0]
    _source(module)
    parts = (module_digest(module), call, sys.platform, platform.machine(), _cpu())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def ensure(name: str, call: str, python: Path, on_progress: Callable[[str], None]) -> Made:
    """The toolchain, made by `python` if it is missing or broken.

    Raises SetupError: what its maker says is missing, or what broke it, with the path of the whole log.
    """
    folder = place(name, call)
    if (found := managed_folder.look(folder)).state == "ready":
        return found
    return managed_folder.make(
        folder,
        home() / "locks" / f"toolchain-{name}.lock",
        lambda partial: _run(name, call, python, partial, on_progress),
        managed_folder.look,
        on_progress,
    )


def _run(
    name: str, call: str, python: Path, folder: Path, on_progress: Callable[[str], None]
) -> dict[str, str]:
    """The parent's side: start the child, hear its progress, return the versions that it made."""
    log = home() / "logs" / f"toolchain-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # edgehone first: a backend's own package imports it.
    tops = dict.fromkeys(("edgehone", call.partition(":")[0].partition(".")[0]))
    packages = {top: str(_package(top)) for top in tops}
    start = {"packages": packages, "call": f"{__name__}:make", "args": [call, str(folder)]}
    command = [str(python), "-I", str(Path(__file__).parent.parent / "bootstrap.py"), json.dumps(start)]
    last: dict[str, Any] = {}

    def hear(line: str) -> None:
        said = json.loads(line)
        if "progress" in said:
            on_progress(said["progress"])
        else:
            last.update(said)

    with log.open("wb") as out:
        code = run_lines(command, hear, env=clean(os.environ), cwd=folder, stderr=out)
    again = f"edgehone backends install {name}"
    if "error" in last:
        error = last["error"]
        raise SetupError(_keep_logs(name, folder, error["message"]), hint=error["hint"] or again)
    if "versions" not in last:
        cause = root_cause(log.read_text("utf-8", "replace"))
        raise SetupError(
            f"the toolchain of {name} was not made: {cause or f'exit code {code}'} (log: {log})",
            hint=again,
        )
    versions: dict[str, str] = last["versions"]
    return versions


def _keep_logs(name: str, folder: Path, message: str) -> str:
    """Save a maker's own logs, *.log, from a folder about to be swept; the message with their new paths."""
    for log in sorted(folder.glob("*.log")):
        kept = home() / "logs" / f"toolchain-{name}-{log.name}"
        shutil.copyfile(log, kept)
        message = message.replace(str(log), str(kept))
    return message


def make(call: str, folder: str) -> None:
    """The child's side: call the maker, and tell of it on standard output, one JSON object a line."""
    end_with_parent()
    # Whatever a maker or its children print goes to the log, not between our lines.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(**what: Any) -> None:
        print(json.dumps(what), file=channel, flush=True)

    module, _, function = call.partition(":")
    try:
        versions = getattr(importlib.import_module(module), function)(
            Path(folder), lambda what: say(progress=str(what))
        )
    except EdgehoneError as error:
        say(error={"message": error.message, "hint": error.hint})
    except Exception as error:
        say(error={"message": f"{call} failed: {type(error).__name__}: {error}", "hint": None})
        raise
    else:
        say(versions=dict(versions or {}))


def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise SetupError(
            f"the module '{module}' cannot be found", hint="install the package of the backend again"
        )
    return Path(spec.origin)


def _package(name: str) -> Path:
    """The folder of a package, or the file of a module."""
    origin = _source(name)
    return origin.parent if origin.name == "__init__.py" else origin


@cache
def _cpu() -> str:
    """What the CPU can do, as far as the system tells: what is compiled for it runs nowhere else."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return platform.processor()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return " ".join(sorted(value.split()))
    return platform.processor()
