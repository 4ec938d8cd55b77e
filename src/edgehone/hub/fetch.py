"""Download one file: go on where an earlier attempt stopped, and compare the whole with the digest the hub states."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgehone.core.errors import InputError, SetupError
from edgehone.hub import requests
from edgehone.hub.listing import HubFile
from edgehone.hub.requests import Interrupted

ATTEMPTS = 5  # without a new byte
FIRST_PAUSE = 1.0  # seconds; doubled after each further failure
_PIECE = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")

Progress = Callable[[int], None]  # called with the number of bytes that arrived


@dataclass(frozen=True)
class Source:
    """A commit of a repository."""

    repository: str
    commit: str


def fetch(source: Source, file: HubFile, partial: Path, on_bytes: Progress) -> None:
    """Make `partial` the whole file. What an earlier attempt left in it is kept.

    A file whose digest is wrong after it was resumed is fetched once more from its beginning, since the kept part may
    be damaged. Raises InputError if the hub sends other content than it states, SetupError if the disk is full or the
    connection fails too often.
    """
    resumed = _length(partial) > 0
    if _length(partial) > file.size:
        partial.unlink()
        resumed = False
    _complete(source, file, partial, on_bytes)
    if (found := digest_of(partial, file)) != file.digest and resumed:
        partial.unlink()
        _complete(source, file, partial, on_bytes)
        found = digest_of(partial, file)
    if found != file.digest:
        partial.unlink()
        raise InputError(
            f"{file.name} of {source.repository} has the {file.kind} {found}, and the hub states {file.digest}",
            hint="the hub's content, or the connection, is damaged; nothing of the file was kept",
        )


def digest_of(path: Path, file: HubFile) -> str:
    """Return the digest of a file in the kind that the hub states: of the content, or of Git's blob."""
    total = hashlib.new(file.kind, usedforsecurity=file.kind != "sha1")
    if file.kind == "sha1":
        total.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as opened:
        while piece := opened.read(_PIECE):
            total.update(piece)
    return total.hexdigest()


def _complete(source: Source, file: HubFile, partial: Path, on_bytes: Progress) -> None:
    failures = 0
    while (have := _length(partial)) < file.size or not partial.exists():
        try:
            _append(source, file, partial, on_bytes)
        except Interrupted as error:
            failures = 1 if _length(partial) > have else failures + 1
            if failures >= ATTEMPTS:
                raise SetupError(
                    f"{file.name} of {source.repository} stopped at {_length(partial)} of {file.size} bytes: {error}",
                    hint="run the same command again: it continues where it was",
                ) from error
            time.sleep(FIRST_PAUSE * 2 ** (failures - 1))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise SetupError(
                    f"no space left for {file.name} in {partial.parent}",
                    hint="free some space, or set HF_HUB_CACHE to a folder on another disk; what arrived is kept",
                ) from error
            raise


def _append(source: Source, file: HubFile, partial: Path, on_bytes: Progress) -> None:
    """Fetch the rest of a file. Raises Interrupted if the connection ends before it, InputError for more bytes."""
    have = _length(partial)
    with requests.open_file(source.repository, source.commit, file.name, have) as response:
        start = _start(response, file, have)
        with partial.open("r+b" if partial.exists() else "wb") as sink:
            sink.truncate(start)
            sink.seek(start)
            position = start
            while piece := _read(response):
                if position + len(piece) > file.size:
                    raise InputError(
                        f"{file.name} of {source.repository} has more than the {file.size} bytes that the hub states",
                        hint="the hub's content is damaged; do not use this model",
                    )
                position += sink.write(piece)
                on_bytes(len(piece))
            sink.flush()
            os.fsync(sink.fileno())
    if position < file.size:
        raise Interrupted(f"the connection ended after {position} of {file.size} bytes")


def _start(response: http.client.HTTPResponse, file: HubFile, asked: int) -> int:
    """Return the position at which the answer begins: 0 if the server gives no ranges."""
    if not asked or response.status == 200:
        return 0
    told = _RANGE.fullmatch(response.headers.get("Content-Range") or "")
    if response.status != 206 or told is None or int(told[1]) != asked or int(told[3]) != file.size:
        raise InputError(
            f"the hub was asked for {file.name} from byte {asked} of {file.size} on, and sent the range "
            f"{response.headers.get('Content-Range')!r}",
            hint="the hub does not follow HTTP, or the file changed; use another hub",
        )
    return asked


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_PIECE)
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"the connection ended: {error!r}") from error


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
