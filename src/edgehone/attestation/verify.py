"""Verify a bundle, without a network: its signature, every file, and that its documents are about these very files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from edgehone.attestation.certificate import (
    BILL_OF_MATERIALS,
    CERTIFICATE,
    EVIDENCE,
    PAGE,
    SIGNATURE,
    VERDICTS,
    Certificate,
)
from edgehone.attestation.envelope import check_signature, read_sealed
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.files import Files, read_files, shown
from edgehone.attestation.keys import VerificationKey
from edgehone.attestation.statement import (
    artifact_digest,
    check_verdicts,
    read_certificate,
    signed_digests,
    subjects_of,
)
from edgehone.bundle.read import Bundle, read
from edgehone.bundle.schema import DECISION, LARGEST, MANIFEST, is_certification
from edgehone.bundle.verify import compare
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.core.files import read_limited
from edgehone.model.digest import combined

_HINT = "copy the bundle again from where it was made or signed"


@dataclass(frozen=True)
class Verified:
    """A verified bundle.

    `digest` identifies it: SHA-256 over the names and digests of all files but the signature. `signed_by` is the
    signer, None if it is not signed or no key was given to check the signature; `is_signed` tells which.
    `certificate_digest` is that of certificate.json, None without one. `state` shows, without reading the files,
    whether they have changed since (`files.state_of`).
    """

    path: Path
    digest: str
    signed_by: str | None
    is_signed: bool
    certificate: Certificate | None
    certificate_digest: str | None
    files: int
    bytes: int
    state: str


def verify_bundle(bundle: Path, key: VerificationKey | None = None) -> Verified:
    """Return what a bundle proves.

    With a key it must be signed by whom the key accepts. Without one, its files are compared with its manifest and
    with its signature and certificate, if it has them; then the signature shows damage, but not who signed.
    Raises NotVerified, which names the files, if anything does not fit, and InputError if it is no bundle.
    """
    if not bundle.is_dir():
        problem = (
            f"{bundle} is not a folder"
            if bundle.exists()
            else why_absent(bundle, f"no such bundle: {bundle}")
        )
        raise InputError(problem, hint="give the folder of a bundle or a package")
    if not any((bundle / name).is_file() for name in (MANIFEST, SIGNATURE)):
        read(bundle)  # raises: it is none, so that its files, perhaps a whole disk, are not read
    if (bundle / SIGNATURE).is_file():
        read_sealed(bundle / SIGNATURE)  # raises: what is no signature is refused before anything is hashed
    files = read_files(bundle)
    digests = {name: digest for name, digest in files.digests.items() if name != SIGNATURE}
    is_signed = SIGNATURE in files.digests
    if key is not None and not is_signed:
        unsigned = f"it is not signed: {SIGNATURE} is missing"
        _refuse(bundle, [unsigned, *files.problems], hint="edgehone certify BUNDLE --key FILE")
    # The signature is checked first, so that little of an untrusted bundle is parsed.
    signed_by = _check_signature(bundle, key, digests, files) if is_signed else None
    opened = _read(bundle, files)
    return _verified(opened, key, digests, files, signed_by)


def verify_documents(folder: Path, key: VerificationKey | None = None) -> tuple[Verified, Mapping[str, str]]:
    """Return what the documents of a bundle prove, which were copied to `folder`, and the digests of all its files.

    The other files of the bundle need not be there: their digests are those that the manifest, the certificate and the
    signature agree on. Raises NotVerified if the documents do not belong together.
    """
    files = read_files(folder)
    opened = _read(folder, files)
    named = dict(opened.manifest.files)
    if CERTIFICATE in files.digests:  # it also names the evidence of the checks, which the manifest does not
        named = subjects_of(_read_json(folder / CERTIFICATE)) | named
    digests = {name: digest for name, digest in {**named, **files.digests}.items() if name != SIGNATURE}
    is_signed = SIGNATURE in files.digests
    signed_by = _check_signature(folder, key, digests, files) if is_signed else None
    return _verified(opened, key, digests, files, signed_by), digests


def _read(folder: Path, files: Files) -> Bundle:
    """Return a bundle whose files were read. Raises NotVerified if its manifest or its decision is none."""
    try:
        return read(folder)
    except InputError as error:
        _refuse(folder, [*files.problems, error.message], hint=error.hint)


def _verified(
    opened: Bundle,
    key: VerificationKey | None,
    digests: Mapping[str, str],
    files: Files,
    signed_by: str | None,
) -> Verified:
    """Return what a bundle proves whose signature was checked. Raises NotVerified if its documents do not fit."""
    is_signed = SIGNATURE in files.digests
    _check_manifest(opened, digests, files, is_signed=is_signed)
    certificate = _check_certificate(opened, digests) if CERTIFICATE in digests else None
    if VERDICTS in digests:
        _check_verdicts(opened, key, digests, signed_by)
    elif is_signed and certificate:
        _refuse(opened.path, [f"{VERDICTS} is missing"])
    return Verified(
        opened.path,
        combined(digests),
        signed_by,
        is_signed,
        certificate,
        digests.get(CERTIFICATE),
        len(files.digests),
        files.bytes,
        files.state,
    )


def check_approved(verified: Verified) -> tuple[str, ...]:
    """Return the conditions of a bundle's approval, none if it has no conditions.

    Raises NotVerified if it is not approved, or has no certificate.
    """
    certificate = verified.certificate
    if certificate is None:
        raise NotVerified(f"{verified.path} has no certificate", hint=f"edgehone certify {verified.path}")
    if certificate.approval == "no":
        raise NotVerified(
            f"{verified.path} is not approved for {certificate.profile}: {'; '.join(certificate.conditions)}",
            hint=f"see {verified.path / PAGE}",
        )
    return certificate.conditions if certificate.approval == "conditional" else ()


def _check_manifest(bundle: Bundle, digests: Mapping[str, str], files: Files, *, is_signed: bool) -> None:
    listed = {
        name: digest for name, digest in digests.items() if name != MANIFEST and not is_certification(name)
    }
    # Manifests of earlier versions have no digest of their own; the certificate and the signature have theirs.
    alone = CERTIFICATE not in digests and not is_signed
    needed = [
        f"{needed} is missing"
        for needed, needs in ((SIGNATURE, [VERDICTS]), (CERTIFICATE, [PAGE, BILL_OF_MATERIALS, EVIDENCE]))
        if not is_signed
        and needed not in digests
        and any(name.partition("/")[0] in needs for name in digests)
    ]
    differing = compare(listed, bundle.manifest.files, bundle.path / MANIFEST, strict=alone)
    if problems := [*files.problems, *needed, *map(shown, differing)]:
        _refuse(bundle.path, problems)


def _check_signature(
    bundle: Path, key: VerificationKey | None, digests: Mapping[str, str], files: Files
) -> str | None:
    sealed = read_sealed(bundle / SIGNATURE)
    signer = check_signature(sealed, key) if key is not None else None
    signed = signed_digests(sealed.statement)
    problems = list(files.problems)
    problems += [f"{shown(name)} is missing" for name in signed if name not in digests]
    problems += [
        f"{shown(name)} was changed" for name in signed if digests.get(name, signed[name]) != signed[name]
    ]
    problems += [f"{shown(name)} was added" for name in digests if name not in signed]
    if problems:
        _refuse(bundle, problems)
    return signer


def _check_certificate(bundle: Bundle, digests: Mapping[str, str]) -> Certificate:
    certificate = read_certificate(_read_json(bundle.path / CERTIFICATE), digests)
    expected = {
        "artifact_key": bundle.manifest.artifact_key,
        "artifact": artifact_digest(digests),
        "decision": digests[DECISION],
    }
    for name, value in expected.items():
        if getattr(certificate, name) != value:
            _refuse(bundle.path, [f"{CERTIFICATE} is about another {name.replace('_', ' ')}"])
    for check in certificate.checks:
        if check.evidence is not None and check.evidence not in digests:
            _refuse(
                bundle.path, [f"{shown(check.evidence)}, the evidence of the check {check.name}, is missing"]
            )
    return certificate


def _check_verdicts(
    bundle: Bundle, key: VerificationKey | None, digests: Mapping[str, str], signed_by: str | None
) -> None:
    sealed = read_sealed(bundle.path / VERDICTS)
    if key is not None and (signer := check_signature(sealed, key)) != signed_by:
        _refuse(bundle.path, [f"{VERDICTS} was signed by {signer}, the bundle by {signed_by}"])
    check_verdicts(sealed.statement, bundle.decision, bundle.manifest.approved, digests)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_limited(path, LARGEST).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NotVerified(f"{path} cannot be read: {error}", hint=_HINT) from error


def _refuse(bundle: Path, problems: Sequence[str], hint: str | None = _HINT) -> NoReturn:
    more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
    raise NotVerified(f"{bundle} is refused: {'; '.join(problems[:3])}{more}", hint=hint)
