"""Verify a package: its files, its signature, and that it carries the files that the signed bundle consists of.

A package lists its own files. Which files the bundle consists of is told by the bundle's documents in it, and those are
verified as `edgehone verify BUNDLE` does, so a package cannot carry another artifact than the certificate is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from edgehone.attestation.envelope import check_signature, read_sealed
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.files import Files, read_files, shown
from edgehone.attestation.keys import VerificationKey
from edgehone.attestation.statement import signed_digests
from edgehone.attestation.verify import Verified, verify_documents
from edgehone.bundle.read import read
from edgehone.bundle.schema import MANIFEST, SIGNATURE
from edgehone.bundle.verify import compare
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.package.contents import digest_member, digest_members, size_of
from edgehone.package.document import DOCUMENTS, PACKAGE, Package, read_package
from edgehone.package.proof import document_name, proof_of_device, read_document, uncovered
from edgehone.package.target import Proof

_HINT = "copy the package again from where it was made"


@dataclass(frozen=True)
class VerifiedPackage:
    """A verified package.

    `signed_by` is the signer, None if it is not signed or no key was given; `is_signed` tells which. `bundle` is what
    the bundle's documents prove, `uncovered` the instruction set that the package needs a proof for, None if it has it.
    """

    path: Path
    package: Package
    signed_by: str | None
    is_signed: bool
    bundle: Verified
    files: int
    bytes: int
    uncovered: str | None


def verify_package(folder: Path, key: VerificationKey | None = None) -> VerifiedPackage:
    """Verify a package.

    With a key, both the package and its bundle must be signed by a signer that the key accepts: a bundle's signature
    covers the files that the package carries of it, not the files around them.
    Raises NotVerified, which names the files, and InputError if it is no package.
    """
    if not folder.is_dir():
        raise InputError(
            why_absent(folder, f"no such package: {folder}"), hint="give the folder of a package"
        )
    files = read_files(folder)
    if key is not None and SIGNATURE not in files.digests:
        _refuse(
            folder, [f"the package is not signed: {SIGNATURE} is missing"], "edgehone package … --key FILE"
        )
    # The signature is checked first, so that little of an untrusted package is parsed.
    signer = _check_signature(folder, key, files) if SIGNATURE in files.digests else None
    package = _checked_document(folder, files)
    bundle, digests = _check_documents(folder, key)
    _check_statements(folder, package, bundle)
    _check_carried(folder, package, digests)
    _check_deliverables(folder, package)
    manifest = read(folder / DOCUMENTS).manifest
    _check_proofs(folder, package, proof_of_device(manifest.device))
    missing = uncovered(package.proofs, package.runs_on, manifest.target, str(folder))
    is_signed = SIGNATURE in files.digests
    return VerifiedPackage(
        folder, package, signer, is_signed, bundle, len(files.digests), files.bytes, missing
    )


def _check_signature(folder: Path, key: VerificationKey | None, files: Files) -> str | None:
    sealed = read_sealed(folder / SIGNATURE)
    signer = check_signature(sealed, key) if key is not None else None
    signed = signed_digests(sealed.statement)
    digests = {name: digest for name, digest in files.digests.items() if name != SIGNATURE}
    problems = list(files.problems)
    for name in sorted({*signed, *digests}):
        if signed.get(name) != digests.get(name):
            how = (
                "is missing" if name not in digests else "was added" if name not in signed else "was changed"
            )
            problems.append(f"{shown(name)} {how}")
    if problems:
        _refuse(folder, problems)
    return signer


def _checked_document(folder: Path, files: Files) -> Package:
    """Return package.json, whose files are those that are there."""
    if PACKAGE not in files.digests and MANIFEST in files.digests:
        raise InputError(
            f"{folder} is a bundle, not a package", hint=f"edgehone package {folder} --for TARGET makes one"
        )
    if PACKAGE not in files.digests:
        _refuse(folder, [f"{PACKAGE} is missing", *files.problems])
    try:
        package = read_package(folder)
    except InputError as error:
        _refuse(folder, [error.message, *files.problems])
    listed = {name: digest for name, digest in files.digests.items() if name not in (PACKAGE, SIGNATURE)}
    if problems := [*files.problems, *map(shown, compare(listed, package.files, folder / PACKAGE))]:
        _refuse(folder, problems)
    return package


def _check_documents(folder: Path, key: VerificationKey | None) -> tuple[Verified, Mapping[str, str]]:
    try:
        return verify_documents(folder / DOCUMENTS, key)
    except InputError as error:
        raise NotVerified(
            f"{folder}: the documents of its bundle: {error.message}", hint=error.hint
        ) from error


def _check_statements(folder: Path, package: Package, bundle: Verified) -> None:
    """Compare what package.json says of the bundle with the bundle's documents."""
    manifest = read(folder / DOCUMENTS).manifest
    expected = {
        "bundle": bundle.digest,
        "created": manifest.created,
        "artifact": manifest.artifact_key,
        "recipe": f"{manifest.recipe['backend']}/{manifest.recipe['name']}",
        "approval": bundle.certificate.approval if bundle.certificate else "none",
    }
    if wrong := [name for name, value in expected.items() if getattr(package, name) != value]:
        _refuse(folder, [f"{PACKAGE} says another {name} than the bundle's documents" for name in wrong])


def _check_carried(folder: Path, package: Package, signed: Mapping[str, str]) -> None:
    for carried in package.carried:
        if carried.at.partition("!")[0] not in package.files:
            _refuse(folder, [f"{shown(carried.at)} is not a file of the package"])
    # A signature does not contain its own digest: it is the one in the documents, which was checked.
    digests = {SIGNATURE: package.files.get(f"{DOCUMENTS}/{SIGNATURE}"), **signed}
    packaged = digest_members(folder, [one.at for one in package.carried])
    for carried in package.carried:
        if packaged[carried.at] != digests.get(carried.bundle):
            _refuse(folder, [f"{shown(carried.at)} is not the bundle's {shown(carried.bundle)}"])


def _check_deliverables(folder: Path, package: Package) -> None:
    sizes = {one.path: one.bytes for one in package.fillings}
    for one in package.deliverables:
        inside = [name for name in package.files if name == one.path or name.startswith(f"{one.path}/")]
        if not inside or sizes.get(one.path) != size_of(folder / one.path):
            _refuse(folder, [f"{shown(one.path)} is missing or has another size than {PACKAGE} says"])


def _check_proofs(folder: Path, package: Package, own: Proof) -> None:
    """Check that each proof is the bundle's own, or has a document about the packaged artifact that passes."""
    for proof in package.proofs:
        if proof == own:
            continue
        try:
            document = read_document(folder / document_name(proof.architecture))
        except InputError as error:
            _refuse(folder, [error.message])
        if document.proof != proof or not document.passes:
            _refuse(folder, [f"the proof for {proof.architecture} is not what its document says"])
        carried = any(one.at == document.artifact for one in package.carried)
        if not carried or document.artifact_sha256 != digest_member(folder, document.artifact):
            _refuse(folder, [f"the proof for {proof.architecture} is about another artifact"])


def _refuse(folder: Path, problems: Sequence[str], hint: str = _HINT) -> NoReturn:
    more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
    raise NotVerified(f"{folder} is refused: {'; '.join(problems[:3])}{more}", hint=hint)
