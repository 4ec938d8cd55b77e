"""Push a version of the registry to an OCI registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from edgehone.core.errors import InputError
from edgehone.registry import events
from edgehone.registry.blobs import digest_of
from edgehone.registry.remote import chunk_lists
from edgehone.registry.remote.address import Address, parse
from edgehone.registry.remote.client import Client
from edgehone.registry.remote.delta_push import send_delta
from edgehone.registry.remote.limits import Limits
from edgehone.registry.remote.upload import send_blob
from edgehone.registry.schema import COPIES, FILES
from edgehone.registry.session import Registry, Version, manifest_of


@dataclass(frozen=True)
class Sent:
    """What a push to a registry did, in bytes. `digest` is that of the manifest that the tag points to.

    `before`: what it pointed to, if that was something else.
    """

    to: str
    digest: str
    sent: int
    mounted: int
    there: int
    before: str | None

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)

    def line(self) -> str:
        """Return it as text."""
        parts = [f"sent {self.sent / 1e6:.1f} MB"]
        parts += [f"mounted {self.mounted / 1e6:.1f} MB of other repositories"] if self.mounted else []
        parts += [f"{self.there / 1e6:.1f} MB were there"] if self.there else []
        parts += [f"the tag was {self.before} before"] if self.before else []
        return f"{self.to}: {', '.join(parts)}"


def push_to(
    registry: Registry,
    version: Version,
    url: str,
    *,
    by: str,
    delta: bool = False,
    limits: Limits | None = None,
) -> Sent:
    """Push a version; its manifest, and so the tag, is written last.

    `delta`: send only the chunks that the repository lacks, as an artifact that only edgehone can pull
    (`remote.delta`). Raises SetupError if the registry cannot be reached, refuses or is full; InputError if a blob here
    is damaged.
    """
    address = parse(url)
    if address.digest:
        raise InputError(f"{url}: a push needs a tag", hint=f"oci://{address.host}/{address.repository}:TAG")
    sources = _elsewhere(registry, address)
    with registry.blobs.keeping(), Client(address, limits) as client:
        old = client.manifest(address.reference, any_type=True)
        before = digest_of(old) if old else None
        content, amounts = (send_delta if delta else _send_whole)(registry, version, client, sources)
        digest = digest_of(content)
        if before != digest:
            client.put_manifest(address.reference, content)
        _, files = manifest_of(registry, version)
        if not delta and (lists := chunk_lists.lists_of(registry.blobs, files)):
            chunk_lists.attach(client, content, lists)
    sent = Sent(str(address), digest, **amounts, before=before if before != digest else None)
    note_copy(registry, version, address, by=by, detail=sent.to_json())
    return sent


def _send_whole(
    registry: Registry, version: Version, client: Client, mount_from: Mapping[str, Sequence[str]]
) -> tuple[bytes, dict[str, int]]:
    """Send the files of a version; return its manifest, and how many bytes were sent, mounted, there."""
    config, files = manifest_of(registry, version)
    blobs = {file.digest: file.size for file in files} | {config["digest"]: config["size"]}
    amounts = {"sent": 0, "mounted": 0, "there": 0}
    for digest, size in blobs.items():
        how = send_blob(
            client,
            digest,
            size,
            lambda start, digest=digest: registry.blobs.read(digest, start),  # type: ignore[misc]
            mount_from.get(digest, ()),
        )
        amounts[how] += size
    return registry.blobs.read_bytes(version.digest), amounts


def _elsewhere(registry: Registry, address: Address) -> dict[str, list[str]]:
    """Return the other repositories of the host that have blobs of this registry's versions, by digest."""
    query = (
        sa.select(FILES.c.digest, COPIES.c.repository)
        .join(COPIES, COPIES.c.version == FILES.c.version)
        .where(COPIES.c.host == address.host, COPIES.c.repository != address.repository)
        .distinct()
    )
    found: dict[str, list[str]] = {}
    with registry.database.reading() as connection:
        for row in connection.execute(query):
            found.setdefault(row.digest, []).append(row.repository)
    return found


def note_copy(
    registry: Registry, version: Version, address: Address, *, by: str, detail: dict[str, Any]
) -> None:
    """Record that a repository has a version."""
    row = {
        "version": version.id,
        "host": address.host,
        "repository": address.repository,
        "tag": address.reference,
    }
    with registry.database.writing() as connection:
        where = [getattr(COPIES.c, name) == value for name, value in row.items()]
        if connection.execute(sa.select(COPIES.c.version).where(*where)).first() is None:
            connection.execute(COPIES.insert().values(row))
            events.append(
                connection,
                "copy",
                version.name,
                by=by,
                number=version.number,
                digest=version.digest,
                detail=detail,
            )
