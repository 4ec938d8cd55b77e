"""Verify a package: its files, its signature, and that it carries the files that the signed bundle consists of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgehone.attestation.envelope import check_signature, read_sealed
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.files import read_files, shown
from edgehone.attestation.keys import VerificationKey
from edgehone.attestation.statement import signed_digests
from edgehone.bundle.schema import MANIFEST, SIGNATURE, read_manifest
from edgehone.bundle.verify import compare
from edgehone.package.contents import digest_member
from edgehone.package.document import DOCUMENTS, PACKAGE, Package, read_package

_HINT = "copy the package again from where it was made"


@dataclass(frozen=True)
class VerifiedPackage:
    """A package that is what it says. `signed_by` signed it, `bundle_signed_by` the bundle; None if nobody did or no
    key was given."""

    path: Path
    package: Package
    signed_by: str | None
    bundle_signed_by: str | None
    files: int
    bytes: int


def verify_package(folder: Path, key: VerificationKey | None = None) -> VerifiedPackage:
    """Return what a package proves.

    With a key the package or its bundle must be signed by whom the key accepts, and neither by anybody else.
    Raises NotVerified, which names the files, and InputError if it is no package.
    """
    package = read_package(folder)
    files = read_files(folder)
    digests = {name: digest for name, digest in files.digests.items() if name != SIGNATURE}
    listed = {name: digest for name, digest in digests.items() if name != PACKAGE}
    problems = [*files.problems]
    problems += compare(listed, package.files, folder / PACKAGE, needs_digest=False)
    signer = _signer(folder / SIGNATURE, digests, key, problems) if SIGNATURE in files.digests else None
    if problems:
        _refuse(folder, problems)
    bundle_signer = _check_bundle(folder, package, key)
    if key is not None and signer is None and bundle_signer is None:
        _refuse(folder, ["neither it nor its bundle is signed"])
    return VerifiedPackage(folder, package, signer, bundle_signer, len(files.digests), files.bytes)


def _signer(
    path: Path, digests: dict[str, str], key: VerificationKey | None, problems: list[str]
) -> str | None:
    sealed = read_sealed(path)
    signer = check_signature(sealed, key) if key is not None else None
    signed = signed_digests(sealed.statement)
    if signed != digests:
        differing = sorted(name for name in {*signed, *digests} if signed.get(name) != digests.get(name))
        problems.append(f"{shown(differing[0])} is not as it was signed")
    return signer


def _check_bundle(folder: Path, package: Package, key: VerificationKey | None) -> str | None:
    """Check the carried files against the bundle's manifest and signature; return who signed the bundle."""
    import json

    documents = folder / DOCUMENTS
    manifest = read_manifest(json.loads((documents / MANIFEST).read_text("utf-8")), documents / MANIFEST)
    known = dict(manifest.files)
    signer = None
    if (documents / SIGNATURE).is_file():
        sealed = read_sealed(documents / SIGNATURE)
        signer = check_signature(sealed, key) if key is not None else None
        known = signed_digests(sealed.statement)
        for one in sorted(documents.rglob("*")):
            name = one.relative_to(documents).as_posix()
            if one.is_file() and name != SIGNATURE and digest_member(documents, name) != known.get(name):
                _refuse(folder, [f"{DOCUMENTS}/{name} is not as it was signed with the bundle"])
    for carried in package.carried:
        if digest_member(folder, carried.at) != known.get(carried.bundle):
            _refuse(folder, [f"{carried.at} is not the bundle's {carried.bundle}"])
    return signer


def _refuse(folder: Path, problems: list[str]) -> None:
    more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
    raise NotVerified(f"{folder} is refused: {'; '.join(problems[:3])}{more}", hint=_HINT)
