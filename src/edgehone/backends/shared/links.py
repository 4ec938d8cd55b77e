"""Reuse another step's artifact by links instead of copies (worker side)."""

from __future__ import annotations

from pathlib import Path


def link_all(source: Path, out: Path) -> None:
    """Create links in `out` to every file under `source`, with the same relative paths."""
    for path in source.rglob("*"):
        if path.is_file():
            link = out / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.absolute())
