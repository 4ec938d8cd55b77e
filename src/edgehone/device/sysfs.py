"""Small files as the kernel writes them: a value a file, often not there, and not always what one expects."""

from __future__ import annotations

import re
from pathlib import Path


def text(path: Path) -> str | None:
    """The file's text without blanks and NULs at its ends; None where it cannot be read (a sensor that is off)."""
    try:
        return path.read_text(errors="replace").strip("\0 \t\r\n")
    except (OSError, ValueError):
        return None


def integer(path: Path) -> int | None:
    """The file's whole number; None for anything else."""
    return number(text(path))


def number(said: str | None) -> int | None:
    """The whole number that a text is, of a size that a kernel writes; None for anything else."""
    return int(said) if said and re.fullmatch(r"-?[0-9]{1,20}", said) else None


def identifier(path: Path) -> int | None:
    """The file's hexadecimal number ("0x8086"); None for anything else."""
    said = text(path) or ""
    return int(said, 16) if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", said) else None


def by_number(path: Path) -> tuple[int, str]:
    """Sorts cpu10 behind cpu9."""
    digits = re.search(r"[0-9]{1,9}$", path.name)
    return int(digits.group()) if digits else -1, path.name


def entries(folder: Path, pattern: str) -> list[Path]:
    """What in the folder matches, in the order of the numbers at the names' ends; none where it cannot be read."""
    try:
        return sorted(folder.glob(pattern), key=by_number)
    except OSError:
        return []


def linked_name(link: Path) -> str | None:
    """The last part of what a symbolic link points to: the driver's name of `…/driver`."""
    try:
        return link.readlink().name or None
    except (OSError, ValueError):
        return None
