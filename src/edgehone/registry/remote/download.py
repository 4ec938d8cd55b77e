"""Fetch blobs of a repository, compare every byte with their digests, and go on after a failure where it was."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from edgehone.core.errors import InputError
from edgehone.execution.home import file_lock
from edgehone.registry.blobs import Adding, digest_of
from edgehone.registry.chunks import WHOLE
from edgehone.registry.remote.client import Client, Failed
from edgehone.registry.remote.parts import Part, runs, within

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
Chunks = Sequence[tuple[str, int]]


def fetch_blob(client: Client, adding: Adding, digest: str, size: int, chunks: Chunks = ()) -> int:
    """Add a blob of the repository to this registry, unless it has it. Returns how many bytes were transferred.

    `chunks`: the blob's chunks by someone's word; those that are here are not fetched. Raises InputError if the
    repository has not the blob or sends another one, SetupError if it cannot be fetched.
    """
    blobs = adding.blobs
    if blobs.has(digest):
        return 0
    with file_lock(blobs.incoming / f"{digest[7:]}.lock"):  # two pulls of one blob do not write one file
        if blobs.has(digest):
            return 0
        if size <= WHOLE:
            data = b"".join(_body(client, digest, 0, size, size))
            _compare(client, digest, digest_of(data))
            adding.add_bytes(data)
            return size
        fetched = _by_chunks(client, adding, digest, size, chunks)
        if not blobs.has(digest):
            fetched += _whole(client, adding, digest, size)
        return fetched


def fetch_parts(client: Client, adding: Adding, digest: str, size: int, parts: Sequence[Part]) -> int:
    """Add a blob whose chunks the repository has in other blobs, unless it is here. Returns as `fetch_blob`.

    Raises InputError if they are not what it consists of.
    """
    if adding.blobs.has(digest):
        return 0
    with file_lock(adding.blobs.incoming / f"{digest[7:]}.lock"):
        fetched = 0 if adding.blobs.has(digest) else _assembled(client, adding, digest, size, parts)
    if not adding.blobs.has(digest):
        raise InputError(
            f"{client.address.host} sent chunks that do not make up the file {digest}",
            hint="the registry's content is damaged; do not use it",
        )
    return fetched


def _whole(client: Client, adding: Adding, digest: str, size: int) -> int:
    """Fetch a large blob into a file that stays when the download is interrupted, and is continued the next time."""
    path = adding.blobs.incoming / f"{digest[7:]}.partial"
    kept = _length(path)
    _complete(client, path, digest, size)
    if kept and _digest(path) != digest:
        # What an earlier attempt left may be damaged, as after a power cut.
        path.unlink()
        kept = 0
        _complete(client, path, digest, size)
    try:
        _compare(client, digest, _digest(path))
        adding.add_file(path, digest)
    finally:
        path.unlink(missing_ok=True)
    return size - kept


def _complete(client: Client, path: Path, digest: str, size: int) -> None:
    failures = 0
    while (have := _length(path)) < size:
        try:
            with path.open("ab") as file:
                for piece in _body(client, digest, have, size, size):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        except Failed:
            failures = 0 if _length(path) > have else failures + 1
            _pause(client, failures)


def _pause(client: Client, failures: int) -> None:
    """Wait before another attempt. Raises the error that is being handled when there were enough."""
    if failures >= client.limits.attempts:
        raise  # noqa: PLE0704
    time.sleep(client.limits.first_pause * 2 ** max(failures - 1, 0))


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _body(client: Client, digest: str, start: int, end: int, size: int) -> Iterator[bytes]:
    """Yield the bytes from `start` to `end` of a blob of `size` bytes.

    Raises Failed if there are fewer, InputError if there are more than were asked for.
    """
    if start == end:
        return
    url = f"{client.address.base}/blobs/{digest}"
    part = (start, end) != (0, size)
    with client.open(url, {"Range": f"bytes={start}-{end - 1}"} if part else {}) as response:
        position = _first_byte(client, response, start)
        last = size if response.status_code == 200 else end
        for piece in _watched(client, response):
            begun, position = position, position + len(piece)
            if position > last:
                raise InputError(
                    f"{client.address.host} sent more than the {last - start} bytes of the blob {digest}",
                    hint="the registry's content is damaged; do not use it",
                )
            if wanted := piece[max(start - begun, 0) : max(end - begun, 0)]:
                yield wanted
    if position < end:
        raise Failed(
            f"the connection to {client.address.host} ended after {position} of {end} bytes of {digest}",
            hint="run the same command again: it continues where it was",
        )


def _first_byte(client: Client, response: httpx.Response, asked: int) -> int:
    """Return the position in the blob at which the body starts: 0 if the registry gives no ranges."""
    if response.status_code == 200:
        return 0
    told = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if told is None or int(told[1]) != asked:
        found = response.headers.get("Content-Range")
        raise InputError(
            f"{client.address.host} was asked for a blob from byte {asked} on, and sent the range {found!r}",
            hint="the registry does not follow HTTP; pull from another",
        )
    return asked


def _watched(client: Client, response: httpx.Response) -> Iterator[bytes]:
    """Yield the body as it arrives. Raises Failed if less than `least_bytes` arrive in `idle` seconds."""
    begun, arrived = time.monotonic(), 0
    for piece in response.iter_raw():
        arrived += len(piece)
        if time.monotonic() - begun > client.limits.idle:
            if arrived < client.limits.least_bytes:
                raise Failed(
                    f"{client.address.host} is too slow: {arrived} bytes in {client.limits.idle:g} s",
                    hint="try again later; what arrived is kept",
                )
            begun, arrived = time.monotonic(), 0
        yield piece


def _by_chunks(client: Client, adding: Adding, digest: str, size: int, chunks: Chunks) -> int:
    """Fetch the chunks of a blob that are not here, unless that saves nothing. They may not be its chunks at all."""
    if not any(adding.blobs.chunk(chunk).exists() for chunk, _ in chunks):
        return 0
    return _assembled(client, adding, digest, size, within(digest, size, chunks))


def _assembled(client: Client, adding: Adding, digest: str, size: int, parts: Sequence[Part]) -> int:
    """Fetch the chunks that are not here, and make the blob if they are what it consists of.

    If they are not, the list was wrong, and the blob is not here afterwards. Returns how many bytes were transferred.
    """
    blobs = adding.blobs
    if sum(part.size for part in parts) != size:
        return 0
    fetched = failures = 0
    while missing := {part.chunk for part in parts if not blobs.chunk(part.chunk).exists()}:
        before = fetched
        try:
            for run in runs(parts, missing):
                for data in _chunks_of_run(client, run):
                    if adding.add_chunk(data) not in missing:
                        return fetched
                    fetched += len(data)
        except Failed:
            failures = 0 if fetched > before else failures + 1
            _pause(client, failures)
    sha = hashlib.sha256()
    for part in parts:
        sha.update(blobs.chunk(part.chunk).read_bytes())
    if f"sha256:{sha.hexdigest()}" == digest:
        adding.add_list(digest, [(part.chunk, part.size) for part in parts])
    return fetched


def _chunks_of_run(client: Client, run: Sequence[Part]) -> Iterator[bytes]:
    pending = bytearray()
    lengths = [part.size for part in reversed(run)]
    for piece in _body(client, run[0].blob, run[0].offset, run[-1].end, run[0].blob_size):
        pending += piece
        while lengths and len(pending) >= lengths[-1]:
            length = lengths.pop()
            yield bytes(pending[:length])
            del pending[:length]


def _compare(client: Client, expected: str, found: str) -> None:
    if found != expected:
        raise InputError(
            f"{client.address.host} sent a blob that is not what its digest says: {found}, not {expected}",
            hint="the registry's content, or the connection, is damaged; nothing of it was kept",
        )
