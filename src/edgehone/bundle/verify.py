"""Verify that a bundle's files are the ones that were written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgehone.bundle.read import Bundle
from edgehone.bundle.schema import MANIFEST
from edgehone.model.digest import digest_folder


def verify(bundle: Bundle) -> list[str]:
    """Return what differs from the manifest: each file that is missing, changed or added. Empty if none is."""
    return differences(bundle.path, bundle.manifest.files)


def differences(folder: Path, listed: Mapping[str, str]) -> list[str]:
    """Return what differs between the files in `folder` and those `listed` with their SHA-256, the manifest aside."""
    digests = digest_folder(folder)
    digests.pop(MANIFEST, None)
    problems = [f"{name} is missing" for name in listed if name not in digests]
    problems += [
        f"{name} was changed" for name in listed if name in digests and digests[name] != listed[name]
    ]
    return problems + [f"{name} was added" for name in digests if name not in listed]
