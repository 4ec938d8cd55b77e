"""Open the zip archives that torch writes without trusting them: check member positions, unpack nothing."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError

HINT = (
    "the file is damaged, incompletely copied or not an exported program: download it or save it again "
    "(torch.export.save)"
)
_DIRECTORY_LIMIT = 16 * 1024 * 1024  # bytes of the central directory: about 200,000 members
_JSON_LIMIT = 64 * 1024 * 1024  # bytes; programs of 100,000 nodes have about 50 MB
# torch stores members as they are. zipfile unpacks bzip2 and LZMA without a limit: a small member can fill the memory.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_TAIL = 22 + 65_535 + 20  # end record, longest comment, zip64 locator


class Archive:
    """A zip archive.

    `members`: its files by name, without `root`. `root`: the one folder that holds all members ("net/"), "" if there
    is none. `folders`: names of directory entries, which torch does not write.
    """

    def __init__(self, path: Path) -> None:
        """Read the list of members.

        Raises ModelError if the file is not a zip archive, is truncated, or has two members of the same name.
        """
        self.path = path
        try:
            _check_directory(path)
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise self.invalid(f"it is not a complete zip archive ({error})") from error
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
        if not all(entry.filename for entry in entries):  # Python 3.11's is_dir raises IndexError for these
            raise self.invalid("it has a member without a name")
        files = [entry for entry in entries if not entry.is_dir()]
        size = path.stat().st_size
        self.root = _root([entry.filename for entry in files])
        self.folders = tuple(entry.filename for entry in entries if entry.is_dir())
        self.members: dict[str, zipfile.ZipInfo] = {}
        for entry in files:
            name = entry.filename.removeprefix(self.root)
            if name in self.members:
                raise self.invalid(f"it has two members named {name!r}")
            if entry.header_offset < 0 or entry.header_offset + entry.compress_size > size:
                raise self.invalid(f"member {name!r} extends past the end of the file at {size} bytes")
            if entry.compress_type not in _METHODS:
                raise self.invalid(f"member {name!r} is compressed by method {entry.compress_type}")
            self.members[name] = entry

    def json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in a member. Raises ModelError if it is missing, damaged, too large or no object."""
        entry = self.members.get(name)
        if entry is None:
            raise self.invalid(f"it has no {name}")
        if entry.file_size > _JSON_LIMIT:
            raise self.invalid(f"{name} has {entry.file_size} bytes, above the limit of {_JSON_LIMIT}")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(entry) as member:
                data = json.loads(member.read(_JSON_LIMIT + 1))
        except (OSError, ValueError, RecursionError, RuntimeError, EOFError, NotImplementedError) as error:
            raise self.invalid(f"{name} cannot be read: {error}") from error
        except Exception as error:  # the errors of zlib, lzma and zipfile have no common base class
            raise self.invalid(f"{name} cannot be unpacked: {error}") from error
        if not isinstance(data, dict):
            raise self.invalid(f"{name} holds a JSON {type(data).__name__}, not an object")
        return data

    def invalid(self, problem: str) -> ModelError:
        """Return the error for a problem with this file."""
        return ModelError(f"{self.path} is not a valid exported program: {problem}", hint=HINT)


def _root(names: list[str]) -> str:
    roots = {name.partition("/")[0] for name in names if "/" in name}
    return f"{roots.pop()}/" if len(roots) == 1 and all("/" in name for name in names) else ""


def _check_directory(path: Path) -> None:
    """Refuse a huge central directory, which zipfile would read into memory as a whole."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0:
            raise ValueError(f"{size} bytes without an end record")
        length = int.from_bytes(tail[at + 12 : at + 16], "little")
        if tail[max(0, at - 20) : at].startswith(b"PK\x06\x07"):
            file.seek(min(int.from_bytes(tail[at - 12 : at - 4], "little"), size))
            length = max(length % 0xFFFF_FFFF, int.from_bytes(file.read(56)[40:48], "little"))
        if length > _DIRECTORY_LIMIT:
            raise ValueError(f"a central directory of {length} bytes")
