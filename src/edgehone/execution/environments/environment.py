"""Environments: one a backend, or shared (`Needs.environment`), made by uv from a lock, or the user's own.

    envs/NAME-DIGEST/         a relocatable environment of the lock's packages        (installer.py)
    toolchains/NAME-DIGEST/   what was compiled for it, if anything                   (toolchain.py)

    EDGEHONE_PYTHON_NAME=/path/to/python       use this interpreter; nothing is installed into it
    EDGEHONE_TOOLCHAIN_NAME=/path/to/folder    use what was compiled there

The digest stands for all that determines what is in it. Once made, an environment needs no network.
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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from edgehone.backends.base import Needs
from edgehone.core.errors import SetupError
from edgehone.execution.environments import installer, managed_folder, overrides, toolchain
from edgehone.execution.environments.managed_folder import Made
from edgehone.execution.home import file_lock, home


@dataclass(frozen=True)
class Env:
    """An environment that is ready: its Python, its toolchain's folder if it has one, and what is in it.

    `digest` is part of the key of every job that runs in it; `versions` are those that the backend shows.
    """

    name: str
    python: Path
    toolchain: Path | None
    digest: str
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EnvState:
    """What there is of an environment: `reason` says why it is not ready, `bytes` what it takes on disk."""

    state: Literal["ready", "missing", "broken", "own"]
    reason: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    bytes: int | None = None


def ensure(name: str, needs: Needs, on_progress: Callable[[str], None]) -> Env:
    """The environment, checked, and made first if it is missing or broken; two processes make it once.

    Raises SetupError: no network, no space, no compiler, a lock that can't be installed, an own
    interpreter or folder that can't be used. It carries the root cause, the log's path and the way out.
    """
    name = needs.environment or name
    try:
        return _described(
            name,
            needs,
            lambda place, lock: _python(name, place, lock, on_progress),
            lambda call, python: toolchain.ensure(name, call, python, on_progress),
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SetupError(
                f"no space left on the disk of {home()}, needed for the environment of {name}",
                hint="free some space, or set EDGEHONE_HOME to a folder on another disk",
            ) from error
        raise SetupError(
            f"the environment of {name} cannot be installed: {error}", hint=f"edgehone backends install {name}"
        ) from error


def installed(name: str, needs: Needs) -> Env | None:
    """The environment if it was made, by its markers alone; nothing is made. What is damaged shows when it is used.

    Raises SetupError for an own interpreter or folder that can't be used.
    """
    name = needs.environment or name
    made_here = [_place(name, needs.lock)] if needs.lock and not overrides.python(name) else []
    if needs.toolchain and not overrides.toolchain(name):
        made_here.append(toolchain.place(name, needs.toolchain))
    if any(managed_folder.glance(folder).state != "ready" for folder in made_here):
        return None
    return _described(
        name,
        needs,
        lambda place, lock: managed_folder.glance(place),
        lambda call, python: managed_folder.glance(toolchain.place(name, call)),
    )


def _described(
    name: str,
    needs: Needs,
    find_python: Callable[[Path, Path], Made],
    find_toolchain: Callable[[str, Path], Made],
) -> Env:
    """The environment whose parts `find_python(place, lock)` and `find_toolchain(call, python)` look up or make."""
    python, digest, versions = _interpreter(name, needs, find_python)
    folder, its_digest, its_versions = _toolchain(name, needs, python, find_toolchain)
    return Env(name, python, folder, _digest([digest, its_digest]), {**versions, **its_versions})


def state(name: str, needs: Needs) -> EnvState:
    """What there is, looked at without making or fetching anything."""
    name = needs.environment or name
    try:
        mine = [one is not None for one in (overrides.python(name), overrides.toolchain(name))]
        parts = [_look_python(name, needs), *_look_toolchain(name, needs)]
    except SetupError as error:
        return EnvState("broken", error.message)
    except OSError as error:
        return EnvState("broken", str(error))
    for part in parts:
        if part.state != "ready":
            return EnvState(part.state, part.reason)
    versions = {key: value for part in parts for key, value in part.versions.items()}
    sizes = [part.bytes for part in parts if part.bytes is not None]
    kind: Literal["own", "ready"] = "own" if any(mine) or needs.lock is None else "ready"
    return EnvState(kind, "", versions, sum(sizes) if sizes else None)


def remove(name: str) -> None:
    """Remove every environment and toolchain ever made for a backend; whoever makes one now is waited for.

    Raises SetupError if a file of it cannot be removed.
    """
    mine = re.compile(rf"{re.escape(name)}-[0-9a-f]{{12}}(\.partial-.*)?")
    for kind, lock in (("envs", "env"), ("toolchains", "toolchain")):
        with file_lock(home() / "locks" / f"{lock}-{name}.lock"):
            for folder in (home() / kind).glob(f"{name}-*"):
                if mine.fullmatch(folder.name):
                    _remove(folder)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise SetupError(f"{folder} cannot be removed: {error}", hint=f"rm -r {folder}") from error


def _interpreter(
    name: str, needs: Needs, find: Callable[[Path, Path], Made]
) -> tuple[Path, str, Mapping[str, str]]:
    """The interpreter, the digest of what is installed for it, and the versions to show."""
    if interpreter := overrides.python(name):
        versions = overrides.versions(name, interpreter, needs.versions)
        return interpreter, _digest([str(interpreter), _text(versions)]), _shown(needs, versions)
    if needs.lock is None:
        return Path(sys.executable), _digest(_platform()), _core_versions(needs)
    place = _place(name, needs.lock)
    found = find(place, needs.lock)
    # The index decides which build of a version it gives (a CPU or a CUDA torch), so the lock is not enough.
    return (
        installer.python_of(place),
        _digest([place.name, _text(found.versions)]),
        _shown(needs, found.versions),
    )


def _python(name: str, place: Path, lock: Path, on_progress: Callable[[str], None]) -> Made:
    """What is installed at the place, installed first if it is missing or broken."""
    found = _look(place)
    if found.state == "ready":
        return found
    on_progress(f"installing, once, into {place}")
    return managed_folder.make(
        place,
        home() / "locks" / f"env-{name}.lock",
        lambda folder: installer.install(name, lock, folder, on_progress),
        _look,
        on_progress,
    )


def _toolchain(
    name: str, needs: Needs, python: Path, find: Callable[[str, Path], Made]
) -> tuple[Path | None, str, Mapping[str, str]]:
    if folder := overrides.toolchain(name):
        return folder, overrides.digest(folder), {}
    if needs.toolchain is None:
        return None, "", {}
    found = find(needs.toolchain, python)
    return toolchain.place(name, needs.toolchain), toolchain.digest(needs.toolchain), found.versions


def _look_python(name: str, needs: Needs) -> Made:
    if interpreter := overrides.python(name):
        return Made("ready", "", _shown(needs, overrides.versions(name, interpreter, needs.versions)))
    if needs.lock is None:
        return Made("ready", "", _core_versions(needs))
    found = _look(_place(name, needs.lock))
    return replace(found, versions=_shown(needs, found.versions))


def _look_toolchain(name: str, needs: Needs) -> list[Made]:
    if needs.toolchain is None or overrides.toolchain(name):
        return []
    found = managed_folder.look(toolchain.place(name, needs.toolchain))
    return [replace(found, reason=f"its toolchain: {found.reason}" if found.reason else "")]


def _place(name: str, lock: Path) -> Path:
    return home() / "envs" / f"{name}-{_digest([lock.read_text('utf-8'), *_platform()])}"


def _platform() -> tuple[str, ...]:
    # Not sysconfig's variables: threads that ask for them first see them half filled (CPython 3.11), and
    # environments are made side by side.
    return (str(sys.implementation.cache_tag), EXTENSION_SUFFIXES[0], sys.platform, platform.machine())


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _look(folder: Path) -> Made:
    found = managed_folder.look(folder)
    python = installer.python_of(folder)
    if found.state == "ready" and not python.exists():
        # The link is there, but the Python that it was made from is not any more.
        return Made("broken", f"{python} points to {python.readlink()}, which is gone")
    return found


def _shown(needs: Needs, versions: Mapping[str, str]) -> dict[str, str]:
    wanted = {name: versions.get(installer.normalized(name)) for name in needs.versions}
    return {name: version for name, version in wanted.items() if version}


def _core_versions(needs: Needs) -> dict[str, str]:
    """The versions of a backend that runs in edgehone's own interpreter."""
    found = {}
    for name in needs.versions:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _text(versions: Mapping[str, str]) -> str:
    return json.dumps(dict(versions), sort_keys=True)
