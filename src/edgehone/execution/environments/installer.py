"""Make a Python environment from a lock file, with uv."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

from edgehone.core.errors import SetupError
from edgehone.execution.environments import pip_settings
from edgehone.execution.home import home
from edgehone.execution.subprocesses import clean, run_lines

_NEWS = re.compile(r"^\s*(Downloading|Building|Built|Resolved|Prepared|Installed)\b")
_NO_NETWORK = re.compile(
    r"Failed to fetch|error sending request|dns error|network was disabled|timed out", re.I
)
_NO_SPACE = re.compile(r"^.*(?:No space left on device|Disk quota exceeded).*$", re.M)
_FIRST = re.compile(r"^\s*(?:error:|×)\s*(.*)$")
_CAUSE = re.compile(r"^\s*(?:cause:|Caused by:|├─▶|╰─▶)\s*(.*)$")
# What says where a torch is to come from: then it is the user's choice which build that is.
_TORCH_CHOSEN = ("UV_TORCH_BACKEND", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")


def install(name: str, lock: Path, folder: Path, on_progress: Callable[[str], None]) -> dict[str, str]:
    """Fill the empty `folder` with a relocatable environment of the lock; returns the versions installed.

    Raises SetupError with uv's root cause and the path of its whole output.
    """
    log = home() / "logs" / f"env-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)

    def uv(*arguments: str) -> None:
        _run_uv(name, arguments, folder, log, on_progress)

    uv("venv", "--python", sys.executable, "--relocatable", "--allow-existing", "--no-project", str(folder))
    packages = ["pip", "install", "--no-deps", "--python", str(python_of(folder)), "--requirement", str(lock)]
    packages += _where_from(lock)
    uv(*packages)
    if damaged := sorted(_damaged(folder)):
        # uv links its cache's files into environments: one truncated in there is truncated in the cache too.
        on_progress(f"fetching again what uv's cache has lost: {', '.join(damaged)}")
        uv("cache", "clean", *damaged)
        uv(*packages, *(f"--reinstall-package={package}" for package in damaged))
        if damaged := sorted(_damaged(folder)):
            raise SetupError(
                f"{name}: the files of {', '.join(damaged)} are not those of their packages (log: {log})",
                hint=f"uv cache clean && edgehone backends install {name}",
            )
    return versions_of(folder)


def python_of(folder: Path) -> Path:
    """The interpreter of the environment in a folder."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def versions_of(folder: Path) -> dict[str, str]:
    """Version by normalized name of all that is installed in an environment."""
    found = distributions(path=[str(_packages(folder))])
    return {normalized(one.metadata["Name"]): one.version for one in found}


def normalized(name: str) -> str:
    """A distribution's name as the index spells it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages(folder: Path) -> Path:
    if sys.platform == "win32":
        return folder / "Lib" / "site-packages"
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _damaged(folder: Path) -> set[str]:
    """The distributions with a file that is missing or has another size than their RECORD says."""
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
    name: str, arguments: tuple[str, ...], folder: Path, log: Path, on_progress: Callable[[str], None]
) -> None:
    variables = {**pip_settings.uv_variables(os.environ), **os.environ}
    lines: list[str] = []
    with log.open("a", encoding="utf-8") as out:
        out.write(f"$ uv {' '.join(arguments)}\n")

        def hear(line: str) -> None:
            out.write(line + "\n")
            lines.append(line)
            if _NEWS.match(line):
                on_progress(line.strip())

        command = [find_uv(), *arguments, "--color", "never"]
        code = run_lines(command, hear, env=clean(variables), cwd=folder)
    if code != 0:
        raise _failure(name, code, "\n".join(lines), log)


def find_uv() -> str:
    """The path of the uv that edgehone depends on; SetupError if it is gone."""
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise SetupError(
            f"uv is not installed: {error}", hint=f"{sys.executable} -m pip install uv"
        ) from error


def _where_from(lock: Path) -> list[str]:
    """uv's arguments that say where packages come from, beyond what its variables say."""
    arguments = ["--no-index"] if pip_settings.no_index(os.environ) else []
    if sys.platform == "linux" and _wants_torch(lock) and not _torch_is_chosen():
        # The index's own build of torch for Linux brings gigabytes of CUDA; PyTorch offers one without.
        arguments += ["--torch-backend", "cpu"]
    return arguments


def _wants_torch(lock: Path) -> bool:
    return re.search(r"^torch\b(?!-)", lock.read_text("utf-8"), re.M) is not None


def _torch_is_chosen() -> bool:
    if any(os.environ.get(name) for name in _TORCH_CHOSEN) or pip_settings.no_index(os.environ):
        return True
    links = os.environ.get("UV_FIND_LINKS") or pip_settings.uv_variables(os.environ).get("UV_FIND_LINKS", "")
    return any(
        "://" in link or any(Path(link).expanduser().glob("torch-*.whl")) for link in links.split(",") if link
    )


def _failure(name: str, code: int, output: str, log: Path) -> SetupError:
    again = f"edgehone backends install {name}"
    why = cause(output) or f"uv ended with exit code {code}"
    told = f"the environment of {name} cannot be made: {why} (log: {log})"
    if _NO_SPACE.search(output):
        return SetupError(told, hint="free some space, or set EDGEHONE_HOME to a folder on another disk")
    if _NO_NETWORK.search(output):
        return SetupError(told, hint=f"the package index is needed once: with network, run {again}")
    return SetupError(told, hint=again)


def cause(output: str) -> str:
    """The root cause in uv's output, one line of at most 500 characters; '' if it tells none."""
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
        elif causes:  # a long cause goes on over several lines
            causes[-1] += " " + line.strip(" │")
    # What failed, where, and the last word of why; the links between say nothing to a person.
    chain = [first[1].strip() if first else "", *dict.fromkeys([*causes[:1], *causes[-1:]])]
    return ": ".join(part.rstrip(":") for part in chain if part)[:500]
