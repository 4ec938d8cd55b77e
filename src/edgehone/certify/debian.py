"""Which package of Debian a file belongs to, with its version and licences; nothing on other systems."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_COPYRIGHT: Final = Path("/usr/share/doc")
_LICENCE: Final = re.compile(r"^License:[ \t]*(\S[^\n]*)$", re.MULTILINE)
# The form of copyright files that programs can read (DEP-5).
_READABLE: Final = re.compile(r"^Format:.*copyright-format", re.MULTILINE)
# How the others refer to the text of a licence that Debian has once for all packages (Policy 12.5).
_COMMON: Final = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9.+-]+)")
_MOST_LICENCES: Final = 12


@dataclass(frozen=True)
class DebianPackage:
    """An installed package. `licences` are those that its copyright file names, in the words of Debian."""

    name: str
    version: str
    architecture: str
    licences: tuple[str, ...]


def owners(paths: Sequence[str]) -> Mapping[str, DebianPackage]:
    """Return the package of each file that belongs to one. Without dpkg-query there is none."""
    if not paths or shutil.which("dpkg-query") is None:
        return {}
    # Where /lib is a link to /usr/lib, dpkg knows files by either name.
    names = {other: path for path in paths for other in (path, path.removeprefix("/usr"))}
    told = _asked("--search", *names)
    packages: dict[str, str] = {}
    for line in told.splitlines():
        owner, colon, path = line.rpartition(": ")
        if colon and path in names and "diversion" not in owner:
            packages[names[path]] = owner.partition(", ")[0]
    form = "${Package}:${Architecture}\\t${Package}\\t${Version}\\t${Architecture}\\n"
    known: dict[str, DebianPackage] = {}
    for line in _asked("--show", f"--showformat={form}", *dict.fromkeys(packages.values())).splitlines():
        key, name, version, architecture = line.split("\t")
        known[key] = known[name] = DebianPackage(name, version, architecture, _licences(name))
    return {path: known[name] for path, name in packages.items() if name in known}


def _asked(*words: str) -> str:
    """Return what dpkg-query prints. It ends with an error if it knows one of several names not."""
    if len(words) < 2:
        return ""
    done = subprocess.run(
        ["dpkg-query", *words], capture_output=True, text=True, check=False, timeout=60, env={"LC_ALL": "C"}
    )
    return done.stdout


def _licences(package: str) -> tuple[str, ...]:
    try:
        text = (_COPYRIGHT / package / "copyright").read_text("utf-8", "replace")
    except OSError:
        return ()
    found = _LICENCE.findall(text) if _READABLE.search(text) else _COMMON.findall(text)
    return tuple(dict.fromkeys(one.strip().rstrip(".") for one in found))[:_MOST_LICENCES]
