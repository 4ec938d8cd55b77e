"""Overrides: an interpreter or toolchain that an environment variable names, in place of a managed folder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgehone.core.distributions import versions as versions_here
from edgehone.core.errors import SetupError
from edgehone.execution.environments.installer import normalized
from edgehone.execution.subprocesses import clean

# A worker imports edgehone's own modules, so it needs a Python for which they are written.
OLDEST = (3, 11)
_LIST_PACKAGES = """
import importlib.metadata, json, sys
named = [one for one in importlib.metadata.distributions() if one.metadata["Name"]]
versions = {one.metadata["Name"]: one.version for one in named}
print(json.dumps({"python": sys.version_info[:3], "versions": versions}))
"""
_TIMEOUT_SECONDS = 60


def python(name: str) -> Path | None:
    """Return the interpreter that EDGEHONE_PYTHON_<NAME> names, if set. Raises SetupError if it does not exist."""
    variable = _variable("PYTHON", name)
    if not (value := os.environ.get(variable)):
        return None
    # Links are not resolved: the python of a virtual environment is a link, and its own path decides what it imports.
    path = Path(value).expanduser().absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        hint = f"set it to the path of an interpreter, like /path/to/venv/bin/python, or unset {variable}"
        raise SetupError(f"{variable}={value} is not a Python interpreter", hint=hint)
    return path


def toolchain(name: str) -> Path | None:
    """Return the folder that EDGEHONE_TOOLCHAIN_<NAME> names, if set. Raises SetupError if it does not exist."""
    variable = _variable("TOOLCHAIN", name)
    if not (value := os.environ.get(variable)):
        return None
    path = Path(value).expanduser().absolute()
    if not path.is_dir():
        raise SetupError(
            f"{variable}={value} is not a folder", hint=f"set it to a folder, or unset {variable}"
        )
    return path


def versions(name: str, interpreter: Path, required: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of all packages of an interpreter by normalized name, and its own version as `python`.

    Raises SetupError if it does not run, is too old, or lacks one of the `required` distributions.
    """
    variable = _variable("PYTHON", name)
    unset = f"unset {variable} to let edgehone install an environment"
    listing = _list_packages(interpreter, variable, unset)
    release = ".".join(map(str, listing["python"]))
    if tuple(listing["python"]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise SetupError(
            f"{variable}={interpreter} is Python {release}; {oldest} or newer is needed", hint=unset
        )
    installed = {normalized(package): version for package, version in listing["versions"].items()}
    if missing := [package for package in required if normalized(package) not in installed]:
        raise SetupError(
            f"{variable}={interpreter} has no {', '.join(missing)}",
            hint=f"uv pip install --python {interpreter} {' '.join(missing)}; or {unset}",
        )
    return {**installed, "python": release}


def _list_packages(interpreter: Path, variable: str, unset: str) -> dict[str, Any]:
    if interpreter == Path(sys.executable) and sys.flags.isolated:  # another process would say the same
        return {"python": sys.version_info[:3], "versions": versions_here()}
    try:
        done = subprocess.run(
            [interpreter, "-I", "-c", _LIST_PACKAGES],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=clean(os.environ),
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
        listing: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or ["no output"]
        raise SetupError(
            f"{variable}={interpreter} does not run as a Python interpreter: {lines[-1]}", hint=unset
        ) from error
    return listing


def digest(folder: Path) -> str:
    """Return 12 hex digits for the names, sizes and times of all files of a folder, so that a rebuild is detected."""
    hashed = hashlib.sha256(str(folder).encode())
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in (".git", "__pycache__"))
        for name in sorted(names):
            status = os.lstat(f"{parent}/{name}")
            hashed.update(
                f"\0{parent}/{name}\0{status.st_size}\0{status.st_mtime_ns}".encode(
                    "utf-8", "surrogateescape"
                )
            )
    return hashed.hexdigest()[:12]


def _variable(kind: str, name: str) -> str:
    return f"EDGEHONE_{kind}_{name.upper().replace('-', '_')}"
