"""Opens a zip archive of torch without trusting it: members' places are checked, nothing is unpacked."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError

HINT = "the file is damaged or half-copied, or is no exported program: fetch or save it again (torch.export.save)"
_DIRECTORY_LIMIT = 16 * 1024 * 1024  # bytes of the list of members: about 200,000 of them
_JSON_LIMIT = 64 * 1024 * 1024  # bytes; programs of 100,000 nodes have about 50 MB
_TAIL = 22 + 65_535 + 20  # the end record, the longest comment, zip64's locator


class Archive:
    """The members of the archive in `path` by name, the folder that torch puts them all in left out."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError where it is no zip archive, is truncated, or has two members of one name."""
        self.path = path
        try:
            _check_directory(path)
            with zipfile.ZipFile(path) as archive:
                members = [info for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise self.broken(f"it is not a whole zip archive ({error})") from error
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
        size = path.stat().st_size
        root = _root([info.filename for info in members])
        self.members: dict[str, zipfile.ZipInfo] = {}
        for info in members:
            name = info.filename.removeprefix(root)
            if name in self.members:
                raise self.broken(f"it has two members named {name!r}")
            if info.header_offset < 0 or info.header_offset + info.compress_size > size:
                raise self.broken(f"its member {name!r} ends after the file, at {size} bytes")
            self.members[name] = info

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object that a member holds. ModelError where it is damaged, too large or none."""
        info = self.members[name]
        if info.file_size > _JSON_LIMIT:
            raise self.broken(f"{name} has {info.file_size} bytes, above the limit of {_JSON_LIMIT}")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info) as member:
                data = json.loads(member.read(_JSON_LIMIT + 1))
        except (OSError, ValueError, RecursionError, RuntimeError, EOFError, NotImplementedError) as error:
            raise self.broken(f"{name} cannot be read: {error}") from error
        except Exception as error:  # the errors of zlib, lzma and zipfile have no common base
            raise self.broken(f"{name} cannot be unpacked: {error}") from error
        if not isinstance(data, dict):
            raise self.broken(f"{name} holds a JSON {type(data).__name__}, not an object")
        return data

    def broken(self, what: str) -> ModelError:
        """The error that says what is wrong with this file."""
        return ModelError(f"{self.path} is not a sound exported program: {what}", hint=HINT)


def _root(names: list[str]) -> str:
    roots = {name.partition("/")[0] for name in names if "/" in name}
    return f"{roots.pop()}/" if len(roots) == 1 and all("/" in name for name in names) else ""


def _check_directory(path: Path) -> None:
    """zipfile reads the whole list of members at once, however long the end record says it is."""
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
            raise ValueError(f"a list of members of {length} bytes")
