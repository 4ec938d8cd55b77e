"""Read the kernel's one-value files, which are often missing and do not always have the expected form."""

from __future__ import annotations

import re
from pathlib import Path


def text(path: Path) -> str | None:
    """Return the text without surrounding whitespace and NULs, or None if it cannot be read (a disabled sensor)."""
    try:
        return path.read_text(errors="replace").strip("\0 \t\r\n")
    except (OSError, ValueError):
        return None


def integer(path: Path) -> int | None:
    """Return the integer in a file, or None."""
    return number(text(path))


def number(value: str | None) -> int | None:
    """Return a text as an integer of at most 20 digits, or None."""
    return int(value) if value and re.fullmatch(r"-?[0-9]{1,20}", value) else None


def identifier(path: Path) -> int | None:
    """Return the hexadecimal number in a file ("0x8086"), or None."""
    value = text(path) or ""
    return int(value, 16) if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", value) else None


def by_number(path: Path) -> tuple[int, str]:
    """Sort key that orders cpu10 after cpu9."""
    digits = re.search(r"[0-9]{1,9}$", path.name)
    return int(digits.group()) if digits else -1, path.name


def entries(folder: Path, pattern: str) -> list[Path]:
    """Return the matching entries, ordered by the number at the end of the name; empty if unreadable."""
    try:
        return sorted(folder.glob(pattern), key=by_number)
    except OSError:
        return []


def linked_name(link: Path) -> str | None:
    """Return the last part of a symbolic link's target (of `…/driver`, the driver's name), or None."""
    try:
        return link.readlink().name or None
    except (OSError, ValueError):
        return None
