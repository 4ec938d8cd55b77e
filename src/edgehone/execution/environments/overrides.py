"""The user's own interpreter or toolchain, named by an environment variable, instead of one that is made."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from edgehone.core.errors import SetupError
from edgehone.execution.environments.installer import normalized
from edgehone.execution.subprocesses import clean

# A worker imports edgehone's own modules, so it needs the Python that those are written for.
OLDEST = (3, 11)
_ASK = """
import importlib.metadata, json, sys
known = [one for one in importlib.metadata.distributions() if one.metadata["Name"]]
found = {one.metadata["Name"]: one.version for one in known}
print(json.dumps({"python": sys.version_info[:3], "versions": found}))
"""
_PATIENCE_SECONDS = 60


def python(name: str) -> Path | None:
    """The interpreter that EDGEHONE_PYTHON_<NAME> names, if any. Raises SetupError if it is not there."""
    variable = _variable("PYTHON", name)
    if not (given := os.environ.get(variable)):
        return None
    # Not resolved: a virtual environment's python is a link, and its own place decides what it imports.
    place = Path(given).expanduser().absolute()
    if not place.is_file() or not os.access(place, os.X_OK):
        hint = (
            f"{variable} takes the path of an interpreter, like /path/to/venv/bin/python; or unset {variable}"
        )
        raise SetupError(f"{variable}={given} is not a Python interpreter", hint=hint)
    return place


def toolchain(name: str) -> Path | None:
    """The folder that EDGEHONE_TOOLCHAIN_<NAME> names, if any. Raises SetupError if it is not there."""
    variable = _variable("TOOLCHAIN", name)
    if not (given := os.environ.get(variable)):
        return None
    place = Path(given).expanduser().absolute()
    if not place.is_dir():
        raise SetupError(f"{variable}={given} is not a folder", hint=f"give a folder, or unset {variable}")
    return place


def versions(name: str, interpreter: Path, wanted: tuple[str, ...]) -> dict[str, str]:
    """Version by normalized name of all that an interpreter has installed, and its own as `python`.

    Raises SetupError if it does not run, is too old, or lacks one of the `wanted` distributions.
    """
    variable = _variable("PYTHON", name)
    way_out = f"unset {variable} to have edgehone make an environment"
    told = _ask(interpreter, variable, way_out)
    release = ".".join(map(str, told["python"]))
    if tuple(told["python"]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise SetupError(
            f"{variable}={interpreter} is Python {release}; {oldest} or newer is needed", hint=way_out
        )
    found = {normalized(package): version for package, version in told["versions"].items()}
    if lacking := [package for package in wanted if normalized(package) not in found]:
        raise SetupError(
            f"{variable}={interpreter} has no {', '.join(lacking)}",
            hint=f"uv pip install --python {interpreter} {' '.join(lacking)}; or {way_out}",
        )
    return {**found, "python": release}


def _ask(interpreter: Path, variable: str, way_out: str) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [interpreter, "-I", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=clean(os.environ),
            timeout=_PATIENCE_SECONDS,
            check=True,
        )
        told: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or ["no output"]
        raise SetupError(
            f"{variable}={interpreter} does not run as a Python interpreter: {said[-1]}",
            hint=way_out,
        ) from error
    return told


def digest(folder: Path) -> str:
    """12 hex digits of names, sizes and times of all files of a folder, so that a rebuild is noticed."""
    hashed = hashlib.sha256(str(folder).encode())
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in (".git", "__pycache__"))
        for name in sorted(names):
            status = os.lstat(f"{place}/{name}")
            hashed.update(
                f"\0{place}/{name}\0{status.st_size}\0{status.st_mtime_ns}".encode("utf-8", "surrogateescape")
            )
    return hashed.hexdigest()[:12]


def _variable(what: str, name: str) -> str:
    return f"EDGEHONE_{what}_{name.upper().replace('-', '_')}"
