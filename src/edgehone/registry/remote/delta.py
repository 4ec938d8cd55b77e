"""Versions in OCI registries of which only the chunks were sent that the repository lacked.

No registry can put a blob together from parts that it has, so a file that is one blob is sent whole if a byte of it
changed. A delta is another artifact of the same version. Its layers are the manifest of the version; the config and the
files that are not in chunks; a pack, which is the chunks that its push sent, one after another; and the blobs of
earlier versions (files, packs) that hold the other chunks. Its config is a list that says for each chunk of each file
in which of the layers it is, and where. So the registry keeps what a delta needs, also when the earlier tags are gone,
and any client can copy it from registry to registry. Only edgehone can make files of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edgehone.core.errors import InputError
from edgehone.registry.canonical import canonical
from edgehone.registry.chunks import MOST
from edgehone.registry.modelpack import OCI_MANIFEST, descriptor
from edgehone.registry.names import DIGEST
from edgehone.registry.remote.client import Client
from edgehone.registry.remote.parts import Part

KIND: Final = "application/vnd.edgehone.delta.v1+json"
VERSION: Final = "application/vnd.edgehone.version.v1+json"
_BLOB: Final = "application/octet-stream"


@dataclass(frozen=True)
class Delta:
    """A delta: the manifest of its version, and the parts of each file that is in chunks, by the file's digest."""

    manifest: bytes
    files: Mapping[str, Sequence[Part]]


def is_delta(content: bytes) -> bool:
    """Return True if a manifest says that it is one of a delta."""
    try:
        return bool(json.loads(content)["artifactType"] == KIND)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def written(delta: Delta, blobs: Mapping[str, int]) -> tuple[bytes, bytes]:
    """Return the OCI manifest of a delta and its list.

    `blobs` are the sizes of all blobs that it consists of, but for the manifest of the version. Equal deltas have equal
    manifests.
    """
    version = descriptor(VERSION, delta.manifest)
    layers = [{"mediaType": _BLOB, "digest": digest, "size": blobs[digest]} for digest in sorted(blobs)]
    index = {digest: number for number, digest in enumerate(sorted(blobs), 1)}
    files = {
        file: [[part.chunk[7:], part.size, index[part.blob], part.offset] for part in parts]
        for file, parts in delta.files.items()
    }
    listed = canonical({"files": files}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": KIND,
        "config": descriptor(KIND, listed),
        "layers": [version, *layers],
    }
    return canonical(manifest).encode(), listed


def read_delta(client: Client, content: bytes, source: str) -> Delta:
    """Return the delta of an OCI manifest. Raises InputError, naming `source`, if it cannot be put together."""
    try:
        manifest = json.loads(content)
        layers = [_layer(one) for one in manifest["layers"]]
        if manifest["layers"][0]["mediaType"] != VERSION:
            raise ValueError("its first layer is not the manifest of a version")
        listed = json.loads(client.small_blob(str(manifest["config"]["digest"])))
        files = {str(file): [_part(one, layers) for one in parts] for file, parts in listed["files"].items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{source} is no delta of a bundle: {error!r}", hint="push the version again without --delta"
        ) from error
    return Delta(client.small_blob(layers[0][0]), files)


def _layer(one: Mapping[str, Any]) -> tuple[str, int]:
    digest, size = one["digest"], one["size"]
    if not DIGEST.fullmatch(digest) or type(size) is not int or size < 0:
        raise ValueError(f"{one!r} is no layer")
    return digest, size


def _part(one: Sequence[Any], layers: Sequence[tuple[str, int]]) -> Part:
    chunk, size, number, offset = one
    if not all(type(value) is int and value >= 0 for value in (size, number, offset)):
        raise ValueError(f"{one!r} is no place of a chunk")
    blob, whole = layers[number]
    digest = f"sha256:{chunk}"
    if not DIGEST.fullmatch(digest) or not 0 < size <= MOST or offset + size > whole:
        raise ValueError(f"{one!r} is no place of a chunk")
    return Part(digest, size, blob, whole, offset)
