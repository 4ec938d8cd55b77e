"""Verify that a bundle's files are the ones that were written."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from edgehone.bundle.read import Bundle
from edgehone.bundle.schema import LARGEST, MANIFEST, digest_of, is_certification, text_of
from edgehone.core.errors import InputError
from edgehone.core.files import read_limited
from edgehone.model.digest import digest_folder

# What `edgehone run` and `edgehone serve` need of a bundle, besides the manifest.
_RUN = ("artifact", "tokenizer", "canaries")


def verify(bundle: Bundle) -> list[str]:
    """Return what differs from what was written: each file that is missing, changed or added. Empty if none is.

    Files that certification added are no difference; `attestation.verify` verifies those.
    The manifest, which lists the digests of the other files, is verified by the digest of its own content in it, and
    must be spelled as edgehone writes it: no other spaces, no key twice. That shows damage and edits, not an intention
    to deceive: whoever edits the manifest can write a matching digest.
    """
    return differences(bundle.path, bundle.manifest.files)


def check_runnable(bundle: Bundle, cache: Path) -> None:
    """Raise InputError if the manifest, or a file that running the bundle reads, differs from what was written.

    `cache` holds digests by size, time and inode (`model.digest`), so that unchanged files are read once.
    """
    problems = differences(bundle.path, bundle.manifest.files, only=_RUN, cache=cache)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise InputError(
            f"{bundle.path} is not as it was written: {problems[0]}{more}",
            hint=f"edgehone show {bundle.path} lists all; copy the bundle again, or run its reproduce.sh",
        )


def differences(
    folder: Path, listed: Mapping[str, str], *, only: Collection[str] = (), cache: Path | None = None
) -> list[str]:
    """Return what differs between the files in `folder` and those `listed` with their SHA-256, and in the manifest.

    `only` names the subfolders to look at; if empty, all of `folder` is.
    """
    if only:
        listed = {name: digest for name, digest in listed.items() if name.partition("/")[0] in only}
        digests = {
            f"{part}/{name}": digest
            for part in only
            if (folder / part).is_dir()
            for name, digest in digest_folder(folder / part, cache).items()
        }
    else:
        digests = {
            name: digest
            for name, digest in digest_folder(folder, cache).items()
            if not is_certification(name)
        }
        digests.pop(MANIFEST, None)
    return compare(digests, listed, folder / MANIFEST, strict=not only)


def compare(
    digests: Mapping[str, str], listed: Mapping[str, str], manifest: Path, *, strict: bool = True
) -> list[str]:
    """Return what differs between the `digests` of files and those `listed` in the file `manifest`, and in that file.

    `strict`: so is a manifest without a digest of its own, or in another spelling than edgehone's (`text_of`).
    """
    problems = _manifest_problems(manifest, strict=strict)
    problems += [f"{name} is missing" for name in listed if name not in digests]
    problems += [
        f"{name} was changed" for name in listed if name in digests and digests[name] != listed[name]
    ]
    return problems + [f"{name} was added" for name in digests if name not in listed]


def _manifest_problems(path: Path, *, strict: bool) -> list[str]:
    try:
        content = read_limited(path, LARGEST)
        data = json.loads(content)
        digest = digest_of(data) if isinstance(data, Mapping) else ""
        is_spelled = not strict or content == text_of(data).encode()
    except (OSError, ValueError, RecursionError):
        return [f"{path.name} cannot be read"]
    if not isinstance(data, Mapping):
        return [f"{path.name} is not a manifest"]
    if "digest" not in data:
        # Manifests of earlier versions have none; their bundles still run.
        missing = f"{path.name} has no digest of its own, so a change of it could not be seen"
        return [missing] if strict else []
    if data["digest"] != digest:
        return [f"{path.name} was changed"]
    # The digest is about what was parsed, which spaces and the first of two equal keys are not in.
    return [] if is_spelled else [f"{path.name} was written again by another program"]
