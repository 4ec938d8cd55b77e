"""Write a version of a registry to a folder, as the bundle that was pushed."""

from __future__ import annotations

from pathlib import Path

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import read_verification_key
from edgehone.attestation.verify import Verified, verify_bundle
from edgehone.bundle import check_target
from edgehone.core.errors import InputError
from edgehone.registry.names import Reference
from edgehone.registry.session import Registry, Version, find, manifest_of
from edgehone.registry.staging import staged, write_files


def pull(registry: Registry, reference: Reference, out: Path, *, key: Path | None = None) -> Version:
    """Write the version to `out`, in the place of an older bundle, once it is complete and verified.

    `key`: also verify its signature. Raises InputError if a blob is missing or damaged, the bundle does not verify, or
    `out` holds other files; SetupError if the disk is full.
    """
    check_place(registry, out)
    with registry.blobs.keeping():
        with registry.database.reading() as connection:
            version = find(connection, reference)
        _, files = manifest_of(registry, version)
        with staged(out) as folder:
            write_files(registry.blobs, files, folder)
            check_bundle(folder, version.reference, key)
    return version


def check_place(registry: Registry, out: Path) -> None:
    """Raise InputError unless a bundle may be written to `out`, which may not lie among the registry's own files."""
    check_target(out)
    if registry.blobs.folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise InputError(f"{out} is in the folder of the registry", hint="give another --out")


def check_bundle(folder: Path, source: str, key: Path | None) -> Verified:
    """Verify the bundle in a folder, and its signature if a key is given. Raises InputError, which names `source`."""
    try:
        return verify_bundle(folder, read_verification_key([key]) if key else None)
    except NotVerified as error:
        raise InputError(error.message.replace(str(folder), source), hint=error.hint) from error
