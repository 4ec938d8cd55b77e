"""Bring a release to a slot: fetch what is missing, write it at once, verify it, and look whether it fits.

blobs/      what was fetched, by digest; a half download goes on there, and equal chunks of the release that runs are
            not fetched again
slots/a, b  the bundles
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import VerificationKey
from edgehone.attestation.verify import check_approved, verify_bundle
from edgehone.bundle.read import read
from edgehone.core.errors import InputError, SetupError
from edgehone.device.detect import detect
from edgehone.execution.home import file_lock
from edgehone.fleet.channel import Release
from edgehone.fleet.errors import BadRelease, Unable
from edgehone.fleet.fit import accelerators_here, misfits
from edgehone.registry.blobs import Blobs, disk_error
from edgehone.registry.modelpack import File
from edgehone.registry.modelpack import parse as parse_manifest
from edgehone.registry.remote import chunk_lists
from edgehone.registry.remote.client import Client
from edgehone.registry.remote.download import fetch_blob
from edgehone.registry.staging import staged, write_files
from edgehone.registry.unused import paths_of, remove_files, unused_files


@dataclass(frozen=True)
class Wanted:
    """A release as its OCI manifest describes it. `missing` bytes of its files are not here."""

    release: Release
    manifest: bytes
    files: Sequence[File]
    missing: int


@dataclass(frozen=True)
class Place:
    """The folder of an agent."""

    folder: Path

    @property
    def blobs(self) -> Blobs:
        """What was fetched. Raises SetupError if the folder cannot be written."""
        blobs = Blobs(self.folder / "blobs")
        if not (blobs.folder / "registry.json").exists():
            blobs.belong_to(secrets.token_hex(8))
        return blobs

    def slot(self, side: str) -> Path:
        """The folder of a slot."""
        return self.folder / "slots" / side

    def drop_blobs(self) -> None:
        """Remove what was fetched, if it is damaged."""
        shutil.rmtree(self.folder / "blobs", ignore_errors=True)


def describe(client: Client, place: Place, release: Release) -> Wanted:
    """Return what is to be fetched of a release.

    Raises InputError or SetupError if the registry does not give its manifest, BadRelease if it is none of a bundle.
    """
    data = client.manifest(release.manifest)
    if data is None:
        raise InputError(
            f"the registry has no {release.manifest}, which the channel names",
            hint="publish the release again",
        )
    try:
        _, files = parse_manifest(data, f"release {release.number}")
    except InputError as error:
        raise BadRelease(error.message, hint=error.hint) from error
    size = sum(file.size for file in files)
    if size != release.bytes:
        raise BadRelease(f"release {release.number} has {size} bytes; the channel says {release.bytes}")
    blobs = place.blobs
    missing = sum({one.digest: one.size for one in files if not blobs.has(one.digest)}.values())
    return Wanted(release, data, files, missing)


def check_room(place: Place, wanted: Wanted, side: str, reserve: int) -> None:
    """Raise Unable if there is no room on the disk for the release, besides the reserve.

    A file is there three times for a moment: its download, its chunks, and the slot. The slot's old content goes first.
    """
    largest = max((one.size for one in wanted.files if not place.blobs.has(one.digest)), default=0)
    needed = wanted.missing + largest + wanted.release.bytes + reserve
    status = os.statvfs(place.folder)
    free = status.f_bavail * status.f_frsize + _size_of(place.slot(side))
    if free < needed:
        raise Unable(
            f"no space left on the disk of {place.folder}: release {wanted.release.number} needs "
            f"{needed / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free",
            hint="free some space; the agent tries again",
        )


def fetch(client: Client, place: Place, wanted: Wanted) -> int:
    """Fetch the files that are not here; return how many bytes were transferred. What arrived stays after a failure.

    Raises InputError or SetupError if the registry sends something else, fails, or the disk is full.
    """
    blobs = place.blobs
    lists, _ = chunk_lists.find(client, wanted.release.manifest) if wanted.missing else ({}, None)
    transferred = 0
    with blobs.adding() as adding:
        for file in wanted.files:
            transferred += fetch_blob(client, adding, file.digest, file.size, lists.get(file.digest, ()))
        adding.add_bytes(wanted.manifest)
    return transferred


def write_slot(place: Place, wanted: Wanted, side: str) -> None:
    """Write the release to a slot. Its old content is removed first, since it is no longer valid.

    Raises SetupError if the disk is full, InputError if what was fetched was damaged since; it is fetched again then.
    """
    slot = place.slot(side)
    slot.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(slot, ignore_errors=True)
    try:
        with staged(slot) as folder:
            write_files(place.blobs, wanted.files, folder)
    except InputError:
        place.drop_blobs()
        raise


def check_slot(place: Place, side: str, key: VerificationKey, *, proven: bool) -> None:
    """Raise BadRelease unless the bundle in a slot is signed by `key` and approved; Unable if it misfits."""
    slot = place.slot(side)
    try:
        verified = verify_bundle(slot, key)
        check_approved(verified)
    except (NotVerified, InputError) as error:
        raise BadRelease(error.message.replace(str(slot), "the bundle"), hint=error.hint) from error
    found = misfits(read(slot), detect(), accelerators_here(place.folder), proven=proven)
    if found:
        raise Unable(
            f"it does not fit this device: {'; '.join(found)}", hint="publish a bundle for such devices"
        )


def prune(place: Place, keep: Callable[[], Sequence[str]]) -> None:
    """Remove what was fetched of other releases than those whose manifests `keep` names.

    What cannot be told to be needed is removed: it is fetched again when it is.
    """
    try:
        blobs = place.blobs
        with file_lock(blobs.folder / "lock"):
            digests = [one for manifest in keep() for one in _digests(blobs, manifest)]
            remove_files(blobs, list(unused_files(blobs, paths_of(blobs, digests))))
    except InputError:
        place.drop_blobs()
    except OSError as error:
        raise disk_error(error, place.folder) from error


def _digests(blobs: Blobs, manifest: str) -> list[str]:
    if not blobs.has(manifest):
        return []
    _, files = parse_manifest(blobs.read_bytes(manifest), manifest)
    return [manifest, *(file.digest for file in files)]


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def make_folders(folder: Path) -> Place:
    """Return the place of an agent. Raises SetupError if it cannot be written."""
    try:
        (folder / "slots").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"the folder {folder} cannot be made: {error.strerror or error}",
            hint="name another one: folder = …",
        ) from error
    return Place(folder)
