"""Send a blob to a repository in segments, and go on after a failure with what the registry has."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx

from edgehone.core.errors import EdgehoneError, SetupError
from edgehone.registry.blobs import digest_of
from edgehone.registry.remote.client import Client, Failed

# Reads a blob from a byte on.
Read = Callable[[int], Iterator[bytes]]
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")


@dataclass
class _Upload:
    """An upload in progress: where it goes on, and how many bytes the registry has."""

    location: str
    offset: int = 0


def send_blob(client: Client, digest: str, size: int, read: Read, mount_from: Iterable[str] = ()) -> str:
    """Bring a blob to the repository; return "there", "mounted" or "sent".

    `mount_from`: repositories of the same host that probably have it.
    """
    if client.has_blob(digest):
        return "there"
    for repository in mount_from:
        if _mounted(client, digest, repository):
            return "mounted"
    _send(client, digest, size, read)
    return "sent"


def send_bytes(client: Client, data: bytes) -> str:
    """Bring a small blob to the repository; return as `send_blob`."""
    return send_blob(client, digest_of(data), len(data), lambda start: iter([data[start:]]))


def _mounted(client: Client, digest: str, repository: str) -> bool:
    """Ask to mount the blob. A registry that does not mount begins an upload, which is left to expire."""
    url = f"{client.address.base}/blobs/uploads/?mount={digest}&from={repository}"
    return client.ask("POST", url, expected=(201, 202)).status_code == 201


def _send(client: Client, digest: str, size: int, read: Read) -> None:
    upload: _Upload | None = None
    failures = furthest = 0
    while True:
        try:
            if upload is None:
                upload = _begin(client)
            _segments(client, upload, size, read)
            _confirm(client, upload, digest)
            return
        except Failed:
            offset = upload.offset if upload else 0
            failures = 0 if offset > furthest else failures + 1
            furthest = max(furthest, offset)
            if failures >= client.limits.attempts:
                raise
            time.sleep(client.limits.first_pause * 2 ** max(failures - 1, 0))
            upload = _resumed(client, upload)


def _begin(client: Client) -> _Upload:
    response = client.ask("POST", f"{client.address.base}/blobs/uploads/", expected=(202,))
    return _Upload(_location(client, response))


def _segments(client: Client, upload: _Upload, size: int, read: Read) -> None:
    source = _Source(read(upload.offset))
    while upload.offset < size:
        length = min(client.limits.segment_bytes, size - upload.offset)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(length),
            "Content-Range": f"{upload.offset}-{upload.offset + length - 1}",
        }
        response = client.ask(
            "PATCH",
            upload.location,
            expected=(202,),
            headers=headers,
            content=source.rewindable(length),
            seconds=client.limits.answer + client.limits.idle * length / client.limits.least_bytes,
        )
        upload.location = _location(client, response)
        upload.offset += length


def _confirm(client: Client, upload: _Upload, digest: str) -> None:
    mark = "&" if "?" in upload.location else "?"
    url = f"{upload.location}{mark}digest={digest}"
    client.ask("PUT", url, expected=(201,), headers={"Content-Length": "0"}, seconds=client.limits.confirm)


def _resumed(client: Client, upload: _Upload | None) -> _Upload | None:
    """Return the upload with what the registry has of it; None to begin anew."""
    if upload is None or upload.offset == 0:
        return None
    try:
        response = client.ask("GET", upload.location, expected=(200, 204))
    except EdgehoneError:
        return None  # the registry gave it up; the next attempt tells if it is gone altogether
    known = _RANGE.fullmatch(response.headers.get("Range", ""))
    if known is None:
        return None
    location = response.headers.get("Location")
    return _Upload(_location(client, response) if location else upload.location, int(known[1]) + 1)


def _location(client: Client, response: httpx.Response) -> str:
    location = response.headers.get("Location")
    if not location:
        raise SetupError(
            f"{client.address.host} did not say where to send a blob", hint="check that it is an OCI registry"
        )
    return str(urljoin(client.address.base + "/", location))


class _Source:
    """Hands out a stream of bytes in parts of given lengths."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self._used = False

    def rewindable(self, length: int) -> Callable[[], Iterator[bytes]]:
        """Return a function that gives the next `length` bytes. Once begun it cannot be called again."""
        self._used = False

        def begin() -> Iterator[bytes]:
            if self._used:
                raise Failed(
                    "the registry asked to log in while a blob was sent", hint="run the same command again"
                )
            return self._take(length)

        return begin

    def _take(self, length: int) -> Iterator[bytes]:
        self._used = True
        while length:
            data = self._rest or next(self._pieces)
            part, self._rest = data[:length], data[length:]
            length -= len(part)
            yield part
        # The digest of the blob is compared when its last byte has been read.
        if not self._rest:
            self._rest = next(self._pieces, b"")
