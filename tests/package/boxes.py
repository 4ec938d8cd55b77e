"""Orders of the target of the tests, and the content of what they make."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from edgehone.package.target import Target
from edgehone.package.write import Order
from tests.package import boxed

BOXED = cast(Target, boxed)


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the bytes and permissions of every file in a folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }


def order(out: Path, **options: str) -> Order:
    return Order(BOXED, out, options)
