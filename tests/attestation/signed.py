"""Keys, and a certificate of a bundle, for tests of certified bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from edgehone.attestation.certificate import Approval, Certificate, CheckResult, ListItem
from edgehone.attestation.keys import VerificationKey, read_signing_key, read_verification_key
from edgehone.attestation.write import certify_bundle, subject_of
from edgehone.core.figure import Figure

EVIDENCE: dict[str, Any] = {"certification/latency.json": {"latency_ms": [44.1, 45.0, 43.9]}}


def make_key(
    folder: Path, name: str = "signing", curve: ec.EllipticCurve | None = None, password: bytes | None = None
) -> Path:
    """Write NAME.key and NAME.pub and return the path of the private key."""
    private = ec.generate_private_key(curve or ec.SECP256R1())
    path = folder / f"{name}.key"
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    path.chmod(0o600)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


def public(path: Path) -> VerificationKey:
    """Return the public key that `make_key` wrote beside the private one."""
    return read_verification_key([path.with_suffix(".pub")])


def certificate_of(bundle: Path, approval: Approval = "yes", conditions: tuple[str, ...] = ()) -> Certificate:
    """Return a certificate of a bundle, as checks would make it."""
    subject = subject_of(bundle)
    latency = CheckResult(
        name="latency p95",
        category="performance",
        outcome="passed",
        reason="44.1 ms is at most 45 ms",
        threshold="≤ 45 ms",
        figure=Figure(44.1, 43.5, 44.8, 200, "ms"),
        evidence="certification/latency.json",
    )
    leaks = CheckResult(
        name="no canaries in the artifact",
        category="privacy",
        outcome="skipped",
        reason="the calibration texts are not there <any more>",
        required=False,
    )
    owner = ListItem(
        name="owner",
        phase="before",
        text="Somebody is responsible.",
        done=None,
        answer="nobody answered",
        by="",
    )
    return Certificate(
        edgehone="0.1.0",
        created="2026-11-28T14:03:00+00:00",
        profile="production",
        approval=approval,
        conditions=conditions,
        checks=(latency, leaks),
        checklist=(owner,),
        monitoring={"latency_p95_ms": {"baseline": 44.1, "alert_above": 60.0}},
        device={"cpu": "a processor", "threads": 4},
        instruction_sets=("avx2",),
        artifact_key=subject.artifact_key,
        artifact=subject.artifact,
        decision=subject.decision,
        versions={"null": {}},
    )


def certified(
    bundle: Path, key: Path | None, approval: Approval = "yes", conditions: tuple[str, ...] = ()
) -> Path:
    """Certify a bundle, and sign it with the private key in a file."""
    signing = read_signing_key(key) if key else None
    certify_bundle(bundle, certificate_of(bundle, approval, conditions), EVIDENCE, signing)
    return bundle
