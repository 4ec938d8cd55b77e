"""The chunks of a version's large files, attached to it in OCI registries, so that a pull fetches only what it lacks.

Nothing depends on them: a pull compares each chunk and each file with its digest, and without a list, or with a wrong
one, it fetches whole files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from edgehone.core.errors import EdgehoneError
from edgehone.registry.blobs import Blobs
from edgehone.registry.canonical import canonical
from edgehone.registry.chunks import MOST
from edgehone.registry.modelpack import File
from edgehone.registry.names import DIGEST
from edgehone.registry.remote import referrers
from edgehone.registry.remote.client import Client

KIND: Final = "application/vnd.edgehone.chunks.v1+json"
Lists = Mapping[str, Sequence[tuple[str, int]]]


def lists_of(blobs: Blobs, files: Sequence[File]) -> bytes | None:
    """Return the chunks of those files that are kept in chunks, by the file's digest; None if none is."""
    chunked = {file.digest for file in files if blobs.chunk_list(file.digest).exists()}
    if not chunked:
        return None
    return canonical({digest: blobs.chunks_of(digest) for digest in sorted(chunked)}).encode()


def attach(client: Client, manifest: bytes, lists: bytes) -> None:
    """Attach the lists to the version's manifest."""
    referrers.attach(client, manifest, KIND, lists)


def find(client: Client, manifest: str) -> tuple[Lists, str | None]:
    """Return the lists that are attached to the manifest of a digest; with none, why they could not be read."""
    lists: dict[str, list[tuple[str, int]]] = {}
    try:
        for data in referrers.find(client, manifest, KIND):
            for digest, chunks in json.loads(data).items():
                lists[digest] = [_chunk(one) for one in chunks]
    except (EdgehoneError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return {}, f"its lists of chunks cannot be used: {error}"
    return lists, None


def _chunk(one: list[object]) -> tuple[str, int]:
    digest, size = one
    if (
        not isinstance(digest, str)
        or not DIGEST.fullmatch(digest)
        or type(size) is not int
        or not 0 < size <= MOST
    ):
        raise ValueError(f"{one!r} is not a chunk")
    return digest, size
