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
        fetched = _by_chunks(client, adding, digest, size, chunks) if chunks else 0
        if not blobs.has(digest):
            fetched += _whole(client, adding, digest, size)
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
    """Fetch the chunks that are not here, and make the blob if they are what it consists of.

    If they are not, the list was wrong, and the blob remains to be fetched as a whole.
    """
    blobs = adding.blobs
    names = {chunk for chunk, _ in chunks}
    if not any(blobs.chunk(chunk).exists() for chunk in names) or sum(one for _, one in chunks) != size:
        return 0  # nothing to save, or not a list of this blob
    fetched = failures = 0
    while missing := {chunk for chunk in names if not blobs.chunk(chunk).exists()}:
        before = fetched
        try:
            for start, run in _runs(chunks, missing):
                for data in _chunks_of_run(client, digest, start, run, size):
                    if adding.add_chunk(data) not in missing:
                        return fetched
                    fetched += len(data)
        except Failed:
            failures = 0 if fetched > before else failures + 1
            _pause(client, failures)
    sha = hashlib.sha256()
    for chunk, _ in chunks:
        sha.update(blobs.chunk(chunk).read_bytes())
    if f"sha256:{sha.hexdigest()}" == digest:
        adding.add_list(digest, chunks)
    return fetched


def _runs(chunks: Chunks, missing: set[str]) -> list[tuple[int, list[tuple[str, int]]]]:
    """Return the runs of neighbouring chunks that are missing, each with its position in the blob."""
    runs: list[tuple[int, list[tuple[str, int]]]] = []
    position, open_run = 0, False
    seen: set[str] = set()
    for chunk, size in chunks:
        needed = chunk in missing and chunk not in seen
        if needed and not open_run:
            runs.append((position, []))
        if needed:
            runs[-1][1].append((chunk, size))
            seen.add(chunk)
        open_run = needed
        position += size
    return runs


def _chunks_of_run(
    client: Client, digest: str, start: int, run: Sequence[tuple[str, int]], size: int
) -> Iterator[bytes]:
    pending = bytearray()
    lengths = [length for _, length in reversed(run)]
    for piece in _body(client, digest, start, start + sum(lengths), size):
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
