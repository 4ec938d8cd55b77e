"""Certify a bundle: write its documents and sign it. The certified bundle replaces the bundle when it is complete."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgehone.attestation.bom import Software, bill_of_materials
from edgehone.attestation.certificate import (
    ADDED,
    BILL_OF_MATERIALS,
    CERTIFICATE,
    DRIFT_REFERENCE,
    EVIDENCE,
    PAGE,
    SIGNATURE,
    VERDICTS,
    Certificate,
)
from edgehone.attestation.envelope import seal
from edgehone.attestation.files import read_files
from edgehone.attestation.keyless import KeylessKey
from edgehone.attestation.keys import SigningKey
from edgehone.attestation.page import page
from edgehone.attestation.statement import (
    artifact_digest,
    certificate_statement,
    signature_statement,
    verdicts_statement,
)
from edgehone.bundle.read import Bundle, read
from edgehone.bundle.schema import DECISION, MANIFEST, is_certification
from edgehone.bundle.verify import compare
from edgehone.bundle.write import copy_bundle, replace_bundle
from edgehone.core.errors import InputError, SetupError
from edgehone.execution.sole_writer import sole_writer


@dataclass(frozen=True)
class Subject:
    """What a certificate must say that it is about: its fields `artifact_key`, `artifact` and `decision`."""

    artifact_key: str
    artifact: str
    decision: str


def subject_of(bundle: Path) -> Subject:
    """Return what a certificate of that bundle is about.

    Raises InputError if the bundle differs from its manifest, or contains what cannot be signed (links, devices, empty
    folders, files that every user can write).
    """
    opened, digests = _unchanged(bundle)
    return Subject(opened.manifest.artifact_key, artifact_digest(digests), digests[DECISION])


def certify_bundle(
    bundle: Path,
    certificate: Certificate,
    evidence: Mapping[str, Any],
    key: SigningKey | KeylessKey | None,
    *,
    drift: Any = None,
    software: Software = (),
) -> None:
    """Add to a bundle its certificate, in the place of an older one, and sign it.

    `evidence` maps the paths that checks name as theirs ("certification/latency.json") to what is written there as
    JSON; text and bytes are written as they are. `drift` is the content of drift-reference.json (None: there is none),
    what drift detection compares requests with; `software` are the components that serve the bundle, for the bill of
    materials. Without a key the bundle has a certificate, but no signed verdicts and
    no signature. Raises InputError as `subject_of` does, and if the certificate is about another bundle or names
    evidence that is not given; SetupError when the bundle's folder cannot be written. The bundle then stays as it was.
    """
    with sole_writer(bundle, wait=True):
        _certify(bundle, certificate, evidence, key, drift=drift, software=software)


def _certify(
    bundle: Path,
    certificate: Certificate,
    evidence: Mapping[str, Any],
    key: SigningKey | KeylessKey | None,
    *,
    drift: Any,
    software: Software,
) -> None:
    opened, digests = _unchanged(bundle)
    _check(
        certificate,
        Subject(opened.manifest.artifact_key, artifact_digest(digests), digests[DECISION]),
        evidence,
    )
    target = bundle.resolve()
    staged = target.with_name(f".{target.name}.certified")
    try:
        shutil.rmtree(staged, ignore_errors=True)
        copy_bundle(target, staged, without=ADDED)
        writing = _Writing(staged, digests)
        if drift is not None:
            writing.write(DRIFT_REFERENCE, _encoded(drift))
        for path, content in evidence.items():
            writing.write(path, _encoded(content))
        bill = bill_of_materials(opened, certificate, writing.digests, software)
        writing.write(BILL_OF_MATERIALS, _encoded(bill))
        _fill(writing, opened, certificate)
        if key is not None:
            _sign(writing, opened, key, target.name)
        replace_bundle(staged, target)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise SetupError(
            f"the certified bundle cannot be written to {target}: {error.strerror or error}",
            hint="free some space and run the same command again"
            if full
            else f"make {target.parent} writable",
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _unchanged(bundle: Path) -> tuple[Bundle, dict[str, str]]:
    """Return a bundle and the digests of its files without those of an earlier certification."""
    opened, files = read(bundle), read_files(bundle)
    digests = {name: digest for name, digest in files.digests.items() if not is_certification(name)}
    listed = {name: digest for name, digest in digests.items() if name != MANIFEST}
    if problems := [
        *files.problems,
        *compare(listed, opened.manifest.files, bundle / MANIFEST, strict=False),
    ]:
        raise InputError(
            f"{bundle} cannot be certified: {'; '.join(problems[:3])}",
            hint=f"edgehone show {bundle} lists what differs; copy the bundle again, or run its reproduce.sh",
        )
    return opened, digests


def _check(certificate: Certificate, subject: Subject, evidence: Mapping[str, Any]) -> None:
    for name, value in asdict(subject).items():
        if getattr(certificate, name) != value:
            raise InputError(
                f"the certificate is about another bundle: its {name} is {getattr(certificate, name)!r}, "
                f"not {value!r}",
                hint="certify the bundle anew",
            )
    for path in evidence:
        parts = path.split("/")
        if parts[0] != EVIDENCE or len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
            raise InputError(f"evidence cannot be stored as {path!r}", hint=f"store it below {EVIDENCE}/")
    for check in certificate.checks:
        if check.evidence is not None and check.evidence not in evidence:
            raise InputError(
                f"the check {check.name} names {check.evidence} as evidence, which is not given",
                hint=f"given are: {', '.join(evidence) or 'none'}",
            )


@dataclass(frozen=True)
class _Writing:
    """A folder that is written to, and the digests of all files in it."""

    folder: Path
    digests: dict[str, str]

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.digests[name] = hashlib.sha256(content).hexdigest()


def _fill(writing: _Writing, bundle: Bundle, certificate: Certificate) -> None:
    writing.write(CERTIFICATE, _encoded(certificate_statement(certificate, writing.digests)))
    writing.write(PAGE, _encoded(page(bundle, certificate, writing.digests[CERTIFICATE])))


def _sign(writing: _Writing, bundle: Bundle, key: SigningKey | KeylessKey, name: str) -> None:
    verdicts = verdicts_statement(bundle.decision, bundle.manifest.approved, writing.digests)
    writing.write(VERDICTS, seal(verdicts, key))
    writing.write(SIGNATURE, seal(signature_statement(name, writing.digests), key))


def _encoded(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    text = content if isinstance(content, str) else json.dumps(content, indent=1, allow_nan=False) + "\n"
    return text.encode()
