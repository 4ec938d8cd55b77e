"""Artifacts of one small blob in OCI registries: a manifest with an empty config and the blob as its only layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx

from edgehone.registry.blobs import digest_of
from edgehone.registry.canonical import canonical
from edgehone.registry.modelpack import OCI_MANIFEST, descriptor
from edgehone.registry.remote.client import Client
from edgehone.registry.remote.upload import send_bytes

_EMPTY: Final = "application/vnd.oci.empty.v1+json"


def put_artifact(
    client: Client,
    kind: str,
    data: bytes,
    *,
    tag: str | None = None,
    subject: Mapping[str, Any] | None = None,
) -> tuple[bytes, httpx.Response]:
    """Write an artifact of type `kind`, under a tag or by its digest only; return its manifest and the answer to it.

    `subject` is the descriptor of the manifest that it refers to. The manifest, and so the tag, is written last.
    """
    for blob in (b"{}", data):
        send_bytes(client, blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": descriptor(_EMPTY, b"{}"),
        "layers": [descriptor(kind, data)],
        **({"subject": dict(subject)} if subject else {}),
    }
    content = canonical(manifest).encode()
    return content, client.put_manifest(tag or digest_of(content), content)
