"""Environments: one for each backend, or shared by several (`Needs.environment`). uv installs them from a lock.

    envs/NAME-DIGEST/         a relocatable environment with the packages of the lock  (installer.py)
    toolchains/NAME-DIGEST/   the programs compiled for it, if any                     (toolchain.py)

The digest covers all that determines the content of the folder. An installed environment needs no network. The user can
override either folder by an environment variable (overrides.py):

    EDGEHONE_PYTHON_NAME=/path/to/python       use this interpreter; nothing is installed into it
    EDGEHONE_TOOLCHAIN_NAME=/path/to/folder    use the programs in this folder
"""

from __future__ import annotations

import errno
import hashlib
import json
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Literal

from edgehone.backends.base import Needs
from edgehone.core.distributions import version
from edgehone.core.errors import SetupError
from edgehone.execution.environments import installer, managed_folder, overrides, toolchain
from edgehone.execution.environments.managed_folder import FolderState
from edgehone.execution.home import file_lock, home, home_path


@dataclass(frozen=True)
class Env:
    """An installed environment: its Python, the folder of its toolchain if it has one, and the versions to show.

    `digest` is part of the key of every job that runs in it.
    """

    name: str
    python: Path
    toolchain: Path | None
    digest: str
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EnvState:
    """The state of an environment: if it is not ready, the reason; the versions to show; its bytes on disk.

    "own" means that it uses an override, or edgehone's own interpreter.
    """

    state: Literal["ready", "missing", "broken", "own"]
    reason: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    bytes: int | None = None


def ensure(name: str, needs: Needs, on_progress: Callable[[str], None]) -> Env:
    """Check an environment, install it if it is missing or broken, and return it. Two processes install it once.

    Raises SetupError with the root cause, the log's path and a hint: no network, no space, no compiler, a lock that
    cannot be installed, an override that cannot be used.
    """
    name = needs.environment or name
    try:
        return _assemble(
            name,
            needs,
            lambda folder, lock: _ensure_installed(name, folder, lock, on_progress),
            lambda call, python: toolchain.ensure(name, call, python, on_progress),
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SetupError(
                f"no space left on the disk of {home()}, needed for the environment of {name}",
                hint="free some space, or set EDGEHONE_HOME to a folder on another disk",
            ) from error
        raise SetupError(
            f"the environment of {name} cannot be installed: {error}",
            hint=f"edgehone backends install {name}",
        ) from error


def installed(name: str, needs: Needs) -> Env | None:
    """Return the environment if its folders have valid markers, else None. Files are not checked.

    Raises SetupError for an override that cannot be used.
    """
    name = needs.environment or name
    folders = [_folder_of(name, needs.lock)] if needs.lock and not overrides.python(name) else []
    if needs.toolchain and not overrides.toolchain(name):
        folders.append(toolchain.folder_of(name, needs.toolchain))
    if any(managed_folder.read_marker(folder).state != "ready" for folder in folders):
        return None
    return _assemble(
        name,
        needs,
        lambda folder, lock: managed_folder.read_marker(folder),
        lambda call, python: managed_folder.read_marker(toolchain.folder_of(name, call)),
    )


def _assemble(
    name: str,
    needs: Needs,
    get_python: Callable[[Path, Path], FolderState],
    get_toolchain: Callable[[str, Path], FolderState],
) -> Env:
    """Return the environment whose folders `get_python(folder, lock)` and `get_toolchain(call, python)` provide."""
    python, digest, versions = _interpreter(name, needs, get_python)
    folder, toolchain_digest, toolchain_versions = _toolchain(name, needs, python, get_toolchain)
    versions = {**versions, **toolchain_versions}
    return Env(name, python, folder, _digest([digest, toolchain_digest]), versions)


def state(name: str, needs: Needs) -> EnvState:
    """Return the state of an environment. Files are checked, and nothing is installed or downloaded."""
    name = needs.environment or name
    try:
        overridden = overrides.python(name) is not None or overrides.toolchain(name) is not None
        parts = [_python_state(name, needs), *_toolchain_state(name, needs)]
    except SetupError as error:
        return EnvState("broken", error.message)
    except OSError as error:
        return EnvState("broken", str(error))
    for part in parts:
        if part.state != "ready":
            return EnvState(part.state, part.reason)
    versions = {key: value for part in parts for key, value in part.versions.items()}
    sizes = [part.bytes for part in parts if part.bytes is not None]
    kind: Literal["own", "ready"] = "own" if overridden or needs.lock is None else "ready"
    return EnvState(kind, "", versions, sum(sizes) if sizes else None)


def remove(name: str) -> None:
    """Remove all managed environments and toolchains of a backend. Waits for a running installation.

    Raises SetupError if a file cannot be removed.
    """
    pattern = re.compile(rf"{re.escape(name)}-[0-9a-f]{{12}}(\.partial-.*)?")
    for kind, lock in (("envs", "env"), ("toolchains", "toolchain")):
        with file_lock(home() / "locks" / f"{lock}-{name}.lock"):
            for folder in (home() / kind).glob(f"{name}-*"):
                if pattern.fullmatch(folder.name):
                    _remove(folder)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise SetupError(f"{folder} cannot be removed: {error}", hint=f"rm -r {folder}") from error


def _interpreter(
    name: str, needs: Needs, get_python: Callable[[Path, Path], FolderState]
) -> tuple[Path, str, Mapping[str, str]]:
    """Return the interpreter, a digest of what is installed for it, and the versions to show."""
    if interpreter := overrides.python(name):
        versions = overrides.versions(name, interpreter, needs.versions)
        return interpreter, _digest([str(interpreter), _json(versions)]), _shown(needs, versions)
    if needs.lock is None:
        return Path(sys.executable), _digest(_platform()), _core_versions(needs)
    folder = _folder_of(name, needs.lock)
    present = get_python(folder, needs.lock)
    # The installed versions are part of the digest, because the package index decides which build of a version it
    # offers (torch for CPU or CUDA).
    digest = _digest([folder.name, _json(present.versions)])
    return installer.python_of(folder), digest, _shown(needs, present.versions)


def _ensure_installed(name: str, folder: Path, lock: Path, on_progress: Callable[[str], None]) -> FolderState:
    """Return the state of an environment's folder, after it was installed if it was missing or broken."""
    present = _check(folder)
    if present.state == "ready":
        return present
    on_progress(f"installing, once, into {folder}")
    return managed_folder.create(
        folder,
        home() / "locks" / f"env-{name}.lock",
        lambda partial: installer.install(name, lock, partial, on_progress),
        _check,
        on_progress,
    )


def _toolchain(
    name: str, needs: Needs, python: Path, get_toolchain: Callable[[str, Path], FolderState]
) -> tuple[Path | None, str, Mapping[str, str]]:
    """Return the folder of the toolchain, its digest and its versions."""
    if folder := overrides.toolchain(name):
        return folder, overrides.digest(folder), {}
    if needs.toolchain is None:
        return None, "", {}
    present = get_toolchain(needs.toolchain, python)
    return (
        toolchain.folder_of(name, needs.toolchain),
        toolchain.digest(needs.toolchain),
        present.versions,
    )


def _python_state(name: str, needs: Needs) -> FolderState:
    if interpreter := overrides.python(name):
        versions = overrides.versions(name, interpreter, needs.versions)
        return FolderState("ready", "", _shown(needs, versions))
    if needs.lock is None:
        return FolderState("ready", "", _core_versions(needs))
    present = _check(_folder_of(name, needs.lock))
    return replace(present, versions=_shown(needs, present.versions))


def _toolchain_state(name: str, needs: Needs) -> list[FolderState]:
    if needs.toolchain is None or overrides.toolchain(name):
        return []
    present = managed_folder.check(toolchain.folder_of(name, needs.toolchain))
    return [replace(present, reason=f"its toolchain: {present.reason}" if present.reason else "")]


def _folder_of(name: str, lock: Path) -> Path:
    return home_path() / "envs" / f"{name}-{_digest([lock.read_text('utf-8'), *_platform()])}"


def _platform() -> tuple[str, ...]:
    # Not sysconfig's variables: in CPython 3.11, a thread that reads them while another one computes them gets a
    # partial result, and environments are installed in parallel.
    return (str(sys.implementation.cache_tag), EXTENSION_SUFFIXES[0], sys.platform, platform.machine())


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _check(folder: Path) -> FolderState:
    present = managed_folder.check(folder)
    python = installer.python_of(folder)
    if present.state == "ready" and not python.exists():
        # The link exists, but the interpreter that the environment was made from has been removed.
        return FolderState("broken", f"{python} points to {python.readlink()}, which does not exist")
    return present


def _shown(needs: Needs, versions: Mapping[str, str]) -> dict[str, str]:
    """Return the versions that the backend shows to users."""
    shown = {name: versions.get(installer.normalized(name)) for name in needs.versions}
    return {name: version for name, version in shown.items() if version}


def _core_versions(needs: Needs) -> dict[str, str]:
    """Return the versions to show of a backend that runs in edgehone's own interpreter."""
    versions = {}
    for name in needs.versions:
        with suppress(LookupError):
            versions[name] = version(name)
    return versions


def _json(versions: Mapping[str, str]) -> str:
    return json.dumps(dict(versions), sort_keys=True)
