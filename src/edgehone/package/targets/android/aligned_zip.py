"""Write ZIP archives whose entries are stored uncompressed at aligned offsets, so that they can be memory-mapped.

An entry is moved by padding in the extra field 0xd935 of its local header, as zipalign and apksigner do. Nothing is
compressed: weights hardly shrink, and the bytes then do not depend on the version of zlib.
"""

from __future__ import annotations

import shutil
import struct
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE: Final = 16384  # pages of newer Android devices; a multiple of the 4096 of the others
_LEAST: Final = 4
_LOCAL_HEADER: Final = 30
_ALIGNMENT_FIELD: Final = 0xD935
_EARLIEST: Final = 315532800  # 1980-01-01, the first day that a ZIP archive can express


@dataclass(frozen=True)
class Member:
    """A file of an archive: its name, its content (a path or the bytes), and what its offset is a multiple of."""

    name: str
    content: Path | bytes
    alignment: int = _LEAST


def write_zip(path: Path, members: Sequence[Member], moment: int) -> None:
    """Write an archive; `moment` in seconds since 1970 UTC is the time of all entries."""
    when = time.gmtime(max(moment, _EARLIEST))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.name, (when.tm_year, *when[1:6]))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            assert archive.fp is not None
            info.extra = _padding(archive.fp.tell() + _LOCAL_HEADER + len(member.name.encode()), member)
            if isinstance(member.content, bytes):
                info.file_size = len(member.content)
                with archive.open(info, "w") as target:
                    target.write(member.content)
            else:
                info.file_size = member.content.stat().st_size
                with archive.open(info, "w") as target, member.content.open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
            info.extra = b""  # the padding is of no use in the directory at the end


def _padding(begin: int, member: Member) -> bytes:
    """Return an extra field after which the content begins at a multiple of the alignment."""
    fill = -(begin + 6) % member.alignment
    return struct.pack("<HHH", _ALIGNMENT_FIELD, 2 + fill, member.alignment) + b"\0" * fill


def offset_of(path: Path, name: str) -> int:
    """Return where in an archive the content of an uncompressed entry begins.

    Raises ValueError if the entry is compressed, KeyError if there is none of that name.
    """
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        info = archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed in {path}")
        file.seek(info.header_offset + 26)
        of_name, of_extra = struct.unpack("<HH", file.read(4))
        return info.header_offset + _LOCAL_HEADER + int(of_name) + int(of_extra)
