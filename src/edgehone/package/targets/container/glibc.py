"""The version of glibc that an image has, and the one that its programs need."""

from __future__ import annotations

import re
from pathlib import Path

_OWN = re.compile(rb"GNU C Library[^\n]*version (\d+)\.(\d+)")
_NEEDED = re.compile(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)")
_ELF = b"\x7fELF"


def version_of(library: bytes) -> tuple[int, int] | None:
    """Return the version that a libc.so.6 states; None if it states none."""
    match = _OWN.search(library)
    return (int(match[1]), int(match[2])) if match else None


def needed_by(folder: Path) -> tuple[int, int]:
    """Return the newest version of glibc that the programs and libraries of a folder refer to, else (0, 0)."""
    newest = (0, 0)
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(4) != _ELF:
                continue
            for match in _NEEDED.finditer(file.read()):
                newest = max(newest, (int(match[1]), int(match[2])))
    return newest
