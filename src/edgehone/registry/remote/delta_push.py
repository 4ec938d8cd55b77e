"""Send a version as a delta: only the chunks that the repository lacks.

Where the repository has chunks is taken from the versions that this registry pushed there or pulled from there. A place
counts only if the blob consists of chunks that are here, so a wrong list of someone else is not relied on.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import sqlalchemy as sa

from edgehone.core.errors import InputError
from edgehone.registry.blobs import Blobs
from edgehone.registry.chunks import WHOLE
from edgehone.registry.modelpack import File, parse
from edgehone.registry.remote.client import Client
from edgehone.registry.remote.delta import Delta, is_delta, read_delta, written
from edgehone.registry.remote.parts import Part, within
from edgehone.registry.remote.upload import send_blob, send_bytes
from edgehone.registry.schema import COPIES
from edgehone.registry.session import Registry, Version, manifest_of

# So many of the newest versions in the repository are looked at for chunks.
_EARLIER: Final = 8


@dataclass
class _Plan:
    """What is sent: `whole` files, and a `pack` of chunks, each with its offset and size.

    `files` are the parts of the files that are in chunks; those in the pack name no blob yet. `shared` are the bytes
    that are not sent.
    """

    whole: list[File] = field(default_factory=list)
    pack: dict[str, tuple[int, int]] = field(default_factory=dict)
    pack_size: int = 0
    files: dict[str, list[Part]] = field(default_factory=dict)
    shared: int = 0

    def add(self, file: File, chunks: Sequence[tuple[str, int]], known: Mapping[str, Part]) -> None:
        """Plan a file of which the repository has some chunks."""
        parts = self.files[file.digest] = []
        for chunk, size in chunks:
            if chunk in known or chunk in self.pack:
                self.shared += size
            else:
                self.pack[chunk] = (self.pack_size, size)
                self.pack_size += size
            parts.append(known.get(chunk) or Part(chunk, size, "", 0, self.pack[chunk][0]))


def send_delta(
    registry: Registry, version: Version, client: Client, mount_from: Mapping[str, Collection[str]]
) -> tuple[bytes, dict[str, int]]:
    """Send the blobs of a delta; return its manifest, which is not sent, and how many bytes were sent, mounted, there.

    Raises InputError if a blob here is damaged, or the list of chunks is larger than registries take.
    """
    blobs = registry.blobs
    config, files = manifest_of(registry, version)
    manifest = blobs.read_bytes(version.digest)
    plan = _planned(blobs, client, files, _known(registry, client))
    amounts = {"sent": plan.pack_size, "mounted": 0, "there": plan.shared}
    for file in (*plan.whole, File("", config["digest"], config["size"])):
        digest = file.digest
        how = send_blob(
            client,
            digest,
            file.size,
            lambda start, digest=digest: blobs.read(digest, start),  # type: ignore[misc]
            mount_from.get(digest, ()),
        )
        amounts[how] += file.size
    parts, sizes = _with_pack(client, blobs, plan), {config["digest"]: int(config["size"])}
    sizes |= {file.digest: file.size for file in plan.whole}
    sizes |= {part.blob: part.blob_size for some in parts.values() for part in some}
    content, listed = written(Delta(manifest, parts), sizes)
    if len(listed) > client.limits.most_manifest_bytes:
        raise InputError(
            f"{version.reference} has more chunks than a delta can list ({len(listed) / 1e6:.0f} MB of places)",
            hint="push it without --delta",
        )
    for blob in (manifest, listed):
        send_bytes(client, blob)
    return content, amounts


def _planned(blobs: Blobs, client: Client, files: Sequence[File], known: Mapping[str, Part]) -> _Plan:
    """Plan each file. One that shares nothing is sent whole, so that a later push finds all of it in one blob."""
    plan = _Plan()
    for file in {one.digest: one for one in files}.values():
        chunks = blobs.chunks_of(file.digest) if blobs.chunk_list(file.digest).exists() else []
        if any(chunk in known for chunk, _ in chunks) and not client.has_blob(file.digest):
            plan.add(file, chunks, known)
            continue
        plan.whole.append(file)
        if chunks:
            plan.files[file.digest] = within(file.digest, file.size, chunks)
    return plan


def _with_pack(client: Client, blobs: Blobs, plan: _Plan) -> dict[str, list[Part]]:
    """Send the pack, and return the parts of the files with its digest."""
    if not plan.pack:
        return plan.files
    digest, size = _digest(blobs, plan.pack), plan.pack_size
    send_blob(client, digest, size, lambda start: _read(blobs, plan.pack, start))
    return {
        file: [part if part.blob else replace(part, blob=digest, blob_size=size) for part in parts]
        for file, parts in plan.files.items()
    }


def _digest(blobs: Blobs, chunks: Iterable[str]) -> str:
    """Return the digest of chunks, one after another."""
    sha = hashlib.sha256()
    for chunk in chunks:
        sha.update(blobs.read_chunk(chunk))
    return f"sha256:{sha.hexdigest()}"


def _read(blobs: Blobs, pack: Mapping[str, tuple[int, int]], start: int) -> Iterator[bytes]:
    for chunk, (offset, size) in pack.items():
        if offset + size > start:
            yield blobs.read_chunk(chunk)[max(start - offset, 0) :]


def _known(registry: Registry, client: Client) -> dict[str, Part]:
    """Return where the repository has chunks, by the newest versions in it that this registry knows."""
    known: dict[str, Part] = {}
    looked_at: dict[str, bool] = {}
    for tag in _tags(registry, client):
        content = client.manifest(tag, any_type=True)
        for blob, parts in _blobs_of(registry.blobs, client, content) if content else ():
            if blob not in looked_at:
                looked_at[blob] = client.has_blob(blob)
            for part in parts if looked_at[blob] else ():
                known.setdefault(part.chunk, part)
    return known


def _tags(registry: Registry, client: Client) -> list[str]:
    address = client.address
    query = (
        sa.select(COPIES.c.tag)
        .where(COPIES.c.host == address.host, COPIES.c.repository == address.repository)
        .order_by(COPIES.c.version.desc())
        .limit(_EARLIER)
    )
    with registry.database.reading() as connection:
        tags = connection.execute(query).scalars().all()
    return list(dict.fromkeys([address.reference, *tags]))


def _blobs_of(blobs: Blobs, client: Client, content: bytes) -> Iterator[tuple[str, list[Part]]]:
    """Yield the blobs that a manifest of the repository names, with the chunks of each, as far as they are here."""
    source = str(client.address)
    by_blob: dict[str, list[Part]] = {}
    try:
        if is_delta(content):
            for part in itertools.chain(*read_delta(client, content, source).files.values()):
                by_blob.setdefault(part.blob, []).append(part)
        else:
            by_blob = {file.digest: [] for file in parse(content, source)[1] if file.size > WHOLE}
    except InputError:  # under the tag is something else, which tells nothing of chunks
        return
    for blob, some in by_blob.items():
        if blobs.chunk_list(blob).exists():
            chunks = blobs.chunks_of(blob)
            yield blob, within(blob, sum(size for _, size in chunks), chunks)
        elif _consists_of(blobs, blob, ordered := sorted(set(some), key=lambda one: one.offset)):
            yield blob, ordered


def _consists_of(blobs: Blobs, blob: str, parts: Sequence[Part]) -> bool:
    """Return True if a blob is those chunks, one after another, all of which are here."""
    ends = [part.end for part in parts]
    if not parts or [part.offset for part in parts] != [0, *ends[:-1]] or ends[-1] != parts[0].blob_size:
        return False
    if not all(blobs.chunk(part.chunk).exists() for part in parts):
        return False
    return _digest(blobs, [part.chunk for part in parts]) == blob
