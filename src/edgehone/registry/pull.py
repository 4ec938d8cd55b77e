"""Write a version of a registry to a folder, as the bundle that was pushed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import read_verification_key
from edgehone.attestation.verify import Verified, verify_bundle
from edgehone.bundle import check_target
from edgehone.bundle.write import replace_bundle
from edgehone.core.errors import InputError
from edgehone.execution.sole_writer import sole_writer
from edgehone.registry.blobs import Blobs, disk_error, sync_folder
from edgehone.registry.modelpack import File
from edgehone.registry.names import Reference
from edgehone.registry.session import Registry, Version, find, manifest_of


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


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `out` at the end, and is removed after an error.

    Raises SetupError if the disk is full, or if another process writes to `out`.
    """
    out = out.absolute()
    folder = out.with_name(f".{out.name}.partial")
    with sole_writer(out):
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            yield folder
            replace_bundle(folder, out)
            sync_folder(out.parent)
        except OSError as error:
            raise disk_error(error, out.parent) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def write_files(blobs: Blobs, files: Sequence[File], folder: Path) -> None:
    """Write the files of a bundle, each compared with its digest."""
    for file in files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, blobs.read(file.digest), 0o755 if file.executable else 0o644)
    for inner in sorted({(folder / file.path).parent for file in files}):
        sync_folder(inner)


def _write(path: Path, pieces: Iterable[bytes], mode: int) -> None:
    with path.open("xb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), mode)


def check_bundle(folder: Path, source: str, key: Path | None) -> Verified:
    """Verify the bundle in a folder, and its signature if a key is given. Raises InputError, which names `source`."""
    try:
        return verify_bundle(folder, read_verification_key([key]) if key else None)
    except NotVerified as error:
        raise InputError(error.message.replace(str(folder), source), hint=error.hint) from error
