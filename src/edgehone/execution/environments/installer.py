"""Install a Python environment from a lock file with uv."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgehone.core.errors import SetupError
from edgehone.execution.environments.pip_settings import PipSettings, read_pip_settings
from edgehone.execution.home import home
from edgehone.execution.subprocesses import clean, run_lines

_NEWS = re.compile(r"^\s*(Downloading|Building|Built|Resolved|Prepared|Installed)\b")
_NO_NETWORK = re.compile(
    r"Failed to fetch|error sending request|dns error|network was disabled|timed out", re.I
)
_NO_SPACE = re.compile(r"^.*(?:No space left on device|Disk quota exceeded).*$", re.M)
_FIRST = re.compile(r"^\s*(?:error:|×)\s*(.*)$")
_CAUSE = re.compile(r"^\s*(?:cause:|Caused by:|├─▶|╰─▶)\s*(.*)$")
# If one of these is set, the user has chosen where torch comes from, and so which build of it is installed.
_TORCH_CHOSEN = ("UV_TORCH_BACKEND", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")


@dataclass(frozen=True)
class Machine:
    """What wheels must fit: a version of Python such as "3.11", and a platform as uv names it."""

    python: str
    platform: str


def install(name: str, lock: Path, folder: Path, on_progress: Callable[[str], None]) -> dict[str, str]:
    """Fill the empty `folder` with a relocatable environment of the lock; return the versions installed.

    Packages come from where the settings of pip and uv say (`pip_settings`). Raises SetupError with uv's root cause and
    the path of its whole output.
    """
    log = home() / "logs" / f"env-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    settings = read_pip_settings(os.environ)
    variables = {**settings.uv_variables(os.environ), **os.environ}

    def uv(*arguments: str) -> None:
        code, output = _run_uv(arguments, variables, folder, log, on_progress)
        if code != 0:
            raise _failure(name, code, output, log)

    uv("venv", "--python", sys.executable, "--relocatable", "--allow-existing", "--no-project", str(folder))
    packages = ["pip", "install", "--no-deps", "--python", str(python_of(folder)), "--requirement", str(lock)]
    packages += _source_arguments(lock, settings, variables)
    uv(*packages)
    if damaged := sorted(_damaged(folder)):
        # uv links files of its cache into environments: a file that is truncated here is truncated in the cache too.
        on_progress(f"downloading again, because uv's cache is damaged: {', '.join(damaged)}")
        uv("cache", "clean", *damaged)
        uv(*packages, *(f"--reinstall-package={package}" for package in damaged))
        if damaged := sorted(_damaged(folder)):
            raise SetupError(
                f"{name}: installed files of {', '.join(damaged)} differ from their packages (log: {log})",
                hint=f"uv cache clean && edgehone backends install {name}",
            )
    return versions_of(folder)


def install_for(
    name: str, lock: Path, folder: Path, machine: Machine, on_progress: Callable[[str], None]
) -> None:
    """Install the wheels of a lock for another machine into the empty `folder`, which may be moved there.

    Nothing is compiled, neither source distributions nor bytecode. Raises SetupError as `install` does.
    """
    log = home() / "logs" / f"packages-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    settings = read_pip_settings(os.environ)
    variables = {**settings.uv_variables(os.environ), **os.environ}
    words = [
        "pip",
        "install",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--link-mode",
        "copy",
        "--target",
        str(folder),
    ]
    words += ["--python-version", machine.python, "--python-platform", machine.platform]
    words += ["--requirement", str(lock), *_source_arguments(lock, settings, variables)]
    code, output = _run_uv(tuple(words), variables, folder, log, on_progress)
    if code != 0:
        raise _failure(name, code, output, log)


def python_of(folder: Path) -> Path:
    """Return the interpreter of the environment in a folder."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def versions_of(folder: Path) -> dict[str, str]:
    """Return the version of every installed distribution of an environment, by normalized name."""
    from importlib.metadata import distributions

    found = distributions(path=[str(_packages(folder))])
    return {normalized(one.metadata["Name"]): one.version for one in found}


def normalized(name: str) -> str:
    """Return a distribution's name as the index spells it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages(folder: Path) -> Path:
    if sys.platform == "win32":
        return folder / "Lib" / "site-packages"
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _damaged(folder: Path) -> set[str]:
    """Return the distributions with a file that is missing or whose size differs from their RECORD."""
    packages = _packages(folder)
    found = set()
    for record in packages.glob("*.dist-info/RECORD"):
        with record.open(encoding="utf-8", newline="") as rows:
            if any(size and _size(packages / path) != int(size) for path, _, size in csv.reader(rows)):
                found.add(normalized(record.parent.name.partition("-")[0]))
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _run_uv(
    arguments: tuple[str, ...],
    variables: Mapping[str, str],
    folder: Path,
    log: Path,
    on_progress: Callable[[str], None],
) -> tuple[int, str]:
    """Run uv, append its output to the log, and return its exit code and output."""
    lines: list[str] = []
    with log.open("a", encoding="utf-8") as out:
        out.write(f"$ uv {' '.join(arguments)}\n")

        def on_line(line: str) -> None:
            out.write(line + "\n")
            lines.append(line)
            if _NEWS.match(line):
                on_progress(line.strip())

        command = [find_uv(), *arguments, "--color", "never"]
        code = run_lines(command, on_line, env=clean(variables), cwd=folder)
    return code, "\n".join(lines)


def find_uv() -> str:
    """Return the path of the uv that edgehone depends on. Raises SetupError if it is missing."""
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise SetupError(
            f"uv is not installed: {error}", hint=f"{sys.executable} -m pip install uv"
        ) from error


def _source_arguments(lock: Path, settings: PipSettings, variables: Mapping[str, str]) -> list[str]:
    """Return uv's arguments for where packages come from, which cannot be given as variables."""
    arguments = ["--no-index"] if settings.no_index else []
    if sys.platform == "linux" and _needs_torch(lock) and not _torch_is_chosen(settings, variables):
        # The index's own build of torch for Linux depends on gigabytes of CUDA; PyTorch offers one without.
        arguments += ["--torch-backend", "cpu"]
    return arguments


def _needs_torch(lock: Path) -> bool:
    return re.search(r"^torch\b(?!-)", lock.read_text("utf-8"), re.M) is not None


def _torch_is_chosen(settings: PipSettings, variables: Mapping[str, str]) -> bool:
    """Return True if the user's settings say where torch comes from, and so which build of it is installed."""
    if settings.no_index or any(os.environ.get(name) for name in _TORCH_CHOSEN):
        return True
    return any(
        "://" in link or any(Path(link).expanduser().glob("torch-*.whl"))
        for link in variables.get("UV_FIND_LINKS", "").split(",")
        if link
    )


def _failure(name: str, code: int, output: str, log: Path) -> SetupError:
    again = f"edgehone backends install {name}"
    why = cause(output) or f"uv ended with exit code {code}"
    message = f"the environment of {name} cannot be installed: {why} (log: {log})"
    if _NO_SPACE.search(output):
        return SetupError(message, hint="free some space, or set EDGEHONE_HOME to a folder on another disk")
    if _NO_NETWORK.search(output):
        return SetupError(message, hint=f"the package index is needed once: with network, run {again}")
    return SetupError(message, hint=again)


def cause(output: str) -> str:
    """Return the root cause in uv's output: one line of at most 500 characters, '' if the output names none."""
    if hit := _NO_SPACE.search(output):
        return _CAUSE.sub(r"\1", hit[0]).strip()[:500]
    lines = output.splitlines()
    start = next((number for number, line in enumerate(lines) if _FIRST.match(line)), None)
    if start is None:
        return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "")
    first = _FIRST.match(lines[start])
    causes: list[str] = []
    for line in lines[start + 1 :]:
        if hit := _CAUSE.match(line):
            causes.append(hit[1].strip())
        elif line.startswith("hint") or not line.strip():
            break
        elif causes:  # a long cause continues on further lines
            causes[-1] += " " + line.strip(" │")
    # What failed, where, and the innermost cause. The causes in between repeat it in other words.
    chain = [first[1].strip() if first else "", *dict.fromkeys([*causes[:1], *causes[-1:]])]
    return ": ".join(part.rstrip(":") for part in chain if part)[:500]
