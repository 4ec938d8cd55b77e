"""Installed distributions: their versions, and their entry points by group.

importlib.metadata gives the same, with as many imports again as the whole command line has: parsers of mail, for the
descriptions of packages, which nobody here asks for.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

# The names of folders that describe a distribution: NAME-VERSION.dist-info, NAME.egg-info.
_DESCRIPTION = re.compile(r"(?P<name>[^-]+)(?:-(?P<version>[^-]+).*)?\.(?:dist|egg)-info")


class EntryPoint(NamedTuple):
    """A registered module, and the distribution that registers it, as its folder spells it."""

    name: str
    value: str
    distribution: str


def entry_points(group: str) -> list[EntryPoint]:
    """Return the entry points of a group. A distribution that is installed twice counts where it is found first."""
    return [
        EntryPoint(name, value, one.name)
        for one in _distributions()
        for name, value in _read(one.folder, group)
    ]


def versions() -> dict[str, str]:
    """Return the versions of the installed distributions by name, as their folders spell both."""
    return {one.name: one.version for one in _distributions() if one.version}


def version(name: str) -> str:
    """Return the version of an installed distribution. Raises LookupError if it is not installed."""
    found = next((one.version for one in _distributions() if _key(one.name) == _key(name)), "")
    if not found:
        raise LookupError(f"{name} is not installed")
    return found


class _Distribution(NamedTuple):
    name: str
    version: str
    folder: str


def _distributions() -> Iterator[_Distribution]:
    seen: set[str] = set()
    for folder in sys.path:
        for one in _described(folder or "."):
            if (key := _key(one.name)) not in seen:
                seen.add(key)
                yield one


def _key(name: str) -> str:
    """Return a name as the packaging standard compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _described(folder: str) -> Iterator[_Distribution]:
    """Yield the distributions that a folder describes, sorted."""
    try:
        with os.scandir(folder) as scanned:
            names = sorted(one.name for one in scanned)
    except OSError:  # an archive, or a folder that is not there
        return
    for name in names:
        if match := _DESCRIPTION.fullmatch(name):
            yield _Distribution(match["name"], match["version"] or "", f"{folder}/{name}")


def _read(folder: str, group: str) -> Iterator[tuple[str, str]]:
    try:
        with open(f"{folder}/entry_points.txt", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be a tenth of the whole
            text = file.read()
    except (OSError, UnicodeDecodeError):  # it registers nothing
        return
    if f"[{group}]" not in text:
        return
    inside = False
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            inside = line == f"[{group}]"
        elif inside and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield name.strip(), value.partition("[")[0].strip()  # extras, which are out of use, are left out
