"""Write a folder as a cpio archive in the format `newc`, which the kernel reads as an initrd."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO


def write_newc(folder: Path, target: Path) -> None:
    """Write all files and folders of `folder`, owned by root."""
    with target.open("wb") as out:
        for number, path in enumerate(sorted(folder.rglob("*")), 1):
            data = b"" if path.is_dir() else path.read_bytes()
            _entry(out, path.relative_to(folder).as_posix(), number, path.stat().st_mode, data)
        _entry(out, "TRAILER!!!", 0, 0, b"")


def _entry(out: BinaryIO, name: str, number: int, mode: int, data: bytes) -> None:
    encoded = name.encode() + b"\0"
    fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0]
    out.write(b"070701" + b"".join(b"%08x" % one for one in fields) + encoded)
    out.write(bytes(-out.tell() % 4) + data)
    out.write(bytes(-out.tell() % 4))
