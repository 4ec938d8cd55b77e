"""Entry points of installed distributions by their group, read from entry_points.txt.

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
_DESCRIPTION = re.compile(r"(?P<name>[^-]+)(?:-.*)?\.(?:dist|egg)-info")


class EntryPoint(NamedTuple):
    """A registered module, and the distribution that registers it, as its folder spells it."""

    name: str
    value: str
    distribution: str


def entry_points(group: str) -> list[EntryPoint]:
    """Return the entry points of a group. A distribution that is installed twice counts where it is found first."""
    seen: set[str] = set()
    found: list[EntryPoint] = []
    for folder in sys.path:
        for distribution, path in _described(folder or "."):
            key = re.sub(r"[-_.]+", "-", distribution).lower()
            if key in seen:
                continue
            seen.add(key)
            found += [EntryPoint(name, value, distribution) for name, value in _read(path, group)]
    return found


def _described(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the distributions that a folder describes, each with the path of its entry points; sorted."""
    try:
        with os.scandir(folder) as scanned:
            names = sorted(one.name for one in scanned)
    except OSError:  # an archive, or a folder that is not there
        return
    for name in names:
        if match := _DESCRIPTION.fullmatch(name):
            yield match["name"], f"{folder}/{name}/entry_points.txt"


def _read(path: str, group: str) -> Iterator[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be a tenth of the whole
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
