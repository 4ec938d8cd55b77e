"""Pull a bundle from an OCI registry into the registry here, and to a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError
from edgehone.registry.blobs import Adding, digest_of
from edgehone.registry.layout import write_index
from edgehone.registry.modelpack import File
from edgehone.registry.modelpack import parse as parse_manifest
from edgehone.registry.names import check_name, name_of_model
from edgehone.registry.pull import check_place
from edgehone.registry.push import read_contents, register
from edgehone.registry.remote import chunk_lists
from edgehone.registry.remote.address import Address, parse
from edgehone.registry.remote.client import Client
from edgehone.registry.remote.delta import Delta, is_delta, read_delta
from edgehone.registry.remote.download import fetch_blob, fetch_parts
from edgehone.registry.remote.limits import Limits
from edgehone.registry.remote.push import note_copy
from edgehone.registry.session import Registry, Version
from edgehone.registry.staging import staged, write_files


@dataclass(frozen=True)
class Received:
    """A version from another registry: how many bytes of its `size` were transferred. `note`: what did not work."""

    version: Version
    source: str
    transferred: int
    size: int
    note: str | None

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict, without the version."""
        return {"source": self.source, "transferred": self.transferred, "note": self.note}

    def line(self) -> str:
        """Return it as text."""
        text = f"{self.source}: received {self.transferred / 1e6:.1f} of {self.size / 1e6:.1f} MB"
        return f"{text} ({self.note})" if self.note else text


def pull_from(
    registry: Registry,
    url: str,
    *,
    name: str | None = None,
    out: Path | None = None,
    by: str,
    key: Path | None = None,
    limits: Limits | None = None,
) -> Received:
    """Fetch a bundle, verify it, register it under a name (default: that of its model), and write it to `out`.

    `key`: also verify its signature. Raises InputError if there is no bundle at the address, or it is not what its
    digests or its signature say; SetupError if it cannot be fetched. Nothing is registered or written to `out` then.
    """
    address = parse(url)
    if out is not None:
        check_place(registry, out)
    if name is not None:
        check_name(name)
    with registry.blobs.adding() as adding:
        manifest, files, transferred, note = _fetched(adding, address, limits)
        with _folder(registry, out) as folder:
            write_files(registry.blobs, files, folder)
            contents, bundle = read_contents(folder, key, source=str(address))
            adding.add_bytes(contents.config)
            adding.add_bytes(contents.manifest)
            adding.sync()
        chosen = name or name_of_model(str(bundle.model.get("name") or ""))
        version, _ = register(registry, chosen, contents, by=by, source=str(address))
        write_index(registry)
    if digest_of(manifest) == version.digest:
        detail = {"from": str(address), "transferred": transferred}
        note_copy(registry, version, address, by=by, detail=detail)
    return Received(version, str(address), transferred, version.size, note)


def _fetched(
    adding: Adding, address: Address, limits: Limits | None
) -> tuple[bytes, list[File], int, str | None]:
    with Client(address, limits) as client:
        manifest = client.manifest(address.reference)
        if manifest is None:
            raise InputError(f"there is no {address}", hint="check the host, the repository and the tag")
        if is_delta(manifest):
            delta = read_delta(client, manifest, str(address))
            _, files = parse_manifest(delta.manifest, str(address))
            return delta.manifest, files, _by_parts(client, adding, files, delta), None
        _, files = parse_manifest(manifest, str(address))
        large = {file.digest for file in files if not adding.blobs.has(file.digest)}
        lists, note = chunk_lists.find(client, digest_of(manifest)) if large else ({}, None)
        transferred = sum(
            fetch_blob(client, adding, file.digest, file.size, lists.get(file.digest, ())) for file in files
        )
    return manifest, files, transferred, note


def _by_parts(client: Client, adding: Adding, files: Sequence[File], delta: Delta) -> int:
    return sum(
        fetch_parts(client, adding, file.digest, file.size, delta.files[file.digest])
        if file.digest in delta.files
        else fetch_blob(client, adding, file.digest, file.size)
        for file in files
    )


@contextmanager
def _folder(registry: Registry, out: Path | None) -> Iterator[Path]:
    """Give the folder to write the bundle to; one that is removed again without `out`."""
    if out is not None:
        with staged(out) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(dir=registry.blobs.incoming) as name:
        yield Path(name)
