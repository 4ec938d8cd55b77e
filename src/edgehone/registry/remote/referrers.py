"""Artifacts that refer to a version in its repository, in registries with and without the API for them.

A registry that knows `subject` says so with the header OCI-Subject, and lists referrers itself. For others the client
keeps the list: an index under the tag `sha256-HEX` (OCI distribution specification, "Referrers Tag Schema").
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from edgehone.core.errors import SetupError
from edgehone.registry.blobs import digest_of
from edgehone.registry.canonical import canonical
from edgehone.registry.modelpack import ARTIFACT, OCI_MANIFEST, descriptor
from edgehone.registry.remote.artifact import put_artifact
from edgehone.registry.remote.client import Client

INDEX: Final = "application/vnd.oci.image.index.v1+json"
_ATTEMPTS: Final = 5  # at the list, which others may write at the same time


def attach(client: Client, subject: bytes, kind: str, data: bytes) -> str:
    """Attach one blob of a kind to the manifest `subject`; return the digest of the manifest that refers to it.

    Attaching the same again changes nothing.
    """
    about = {**descriptor(OCI_MANIFEST, subject), "artifactType": ARTIFACT}
    content, response = put_artifact(client, kind, data, subject=about)
    if "OCI-Subject" not in response.headers:
        _list_by_tag(client, digest_of(subject), {**descriptor(OCI_MANIFEST, content), "artifactType": kind})
    return digest_of(content)


def find(client: Client, subject: str, kind: str) -> list[bytes]:
    """Return the blobs of a kind that are attached to the manifest of the digest `subject`."""
    found = []
    for one in _referrers(client, subject, kind):
        if not isinstance(one, Mapping) or one.get("artifactType") != kind:
            continue
        manifest = client.manifest(str(one.get("digest")))
        if manifest is None:
            continue
        layers = json.loads(manifest)["layers"]
        found += [
            client.small_blob(str(layer["digest"])) for layer in layers if layer.get("mediaType") == kind
        ]
    return found


def _referrers(client: Client, subject: str, kind: str) -> list[Any]:
    url = f"{client.address.base}/referrers/{subject}"
    response = client.ask("GET", url, expected=(200, 400, 404, 405), headers={"Accept": INDEX})
    if response.status_code == 200:
        return list(json.loads(response.content)["manifests"])
    return _listed(client, _tag(subject))


def _listed(client: Client, tag: str) -> list[Any]:
    content = client.manifest(tag, any_type=True)
    return list(json.loads(content)["manifests"]) if content else []


def _tag(subject: str) -> str:
    return subject.replace(":", "-")


def _list_by_tag(client: Client, subject: str, entry: dict[str, Any]) -> None:
    """Add a referrer to the list, and look whether it stayed: others may write the list at the same time."""
    for attempt in range(_ATTEMPTS):
        listed = _listed(client, _tag(subject))
        if entry in listed:
            return
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*listed, entry]}
        client.put_manifest(_tag(subject), canonical(index).encode(), INDEX)
        time.sleep(0.05 * attempt)
    if entry not in _listed(client, _tag(subject)):
        raise SetupError(
            f"the list of referrers {_tag(subject)} in {client.address.repository} is written by others all the time",
            hint="run the same command again",
        )
