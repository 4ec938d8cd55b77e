"""The times of the entries of archives, also in archives within archives."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from edgehone.package.contents import ZIPS

_TARS = (".tar", ".tar.gz", ".tgz")


@dataclass
class Entries:
    """How many entries were seen, and the names of those that are later than the limit."""

    entries: int = 0
    late: list[str] = field(default_factory=list)


def late_entries(path: Path, limit: int) -> Entries:
    """Return the entries of the archives in a file or folder that are later than `limit`, in seconds since 1970 UTC."""
    found = Entries()
    for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if one.is_file() and one.name.endswith((*ZIPS, *_TARS)):
            with one.open("rb") as file:
                _look(file, one.name, limit, found)
    return found


def _look(file: IO[bytes], name: str, limit: int, found: Entries) -> None:
    if name.endswith(ZIPS):
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                # ZIP has local times without a zone: those of UTC are meant.
                _note(
                    f"{name}!{entry.filename}",
                    datetime(*entry.date_time, tzinfo=UTC).timestamp(),
                    limit,
                    found,
                )
                if entry.filename.endswith((*ZIPS, *_TARS)):
                    with archive.open(entry) as inner:
                        _look(inner, f"{name}!{entry.filename}", limit, found)
        return
    if file.read(2) == b"\x1f\x8b":
        file.seek(4)
        _note(f"{name} (gzip)", int.from_bytes(file.read(4), "little"), limit, found)
        file.seek(0)
        file = cast(IO[bytes], gzip.GzipFile(fileobj=file))
    else:
        file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        for one in tar:
            _note(f"{name}!{one.name}", one.mtime, limit, found)
            inside = tar.extractfile(one) if one.isreg() and one.name.endswith((*ZIPS, *_TARS)) else None
            if inside is not None:
                _look(inside, f"{name}!{one.name}", limit, found)


def _note(name: str, seconds: float, limit: int, found: Entries) -> None:
    found.entries += 1
    if seconds > limit:
        found.late.append(name)
