"""What a registry records of a bundle besides its files: whether it is approved, and what lists show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.attestation.verify import Verified
from edgehone.bundle.schema import Manifest


def approval_of(verified: Verified, manifest: Manifest) -> str:
    """Return yes, conditional or no: the certificate's approval; without a certificate, whether its gates passed."""
    if verified.certificate is not None:
        return verified.certificate.approval
    return "yes" if manifest.approved else "no"


def facts_of(verified: Verified, manifest: Manifest) -> Mapping[str, Any]:
    """Return what lists show of a bundle, in the types that JSON has."""
    target = manifest.target or manifest.device
    return {
        "backend": manifest.recipe["backend"],
        "recipe": manifest.recipe["name"],
        "model": manifest.model.get("name"),
        "model_digest": manifest.model.get("digest"),
        "device": target.get("name") or target.get("board") or target.get("cpu"),
        "artifact_key": manifest.artifact_key,
        "created": manifest.created,
        "edgehone": manifest.edgehone,
        "gates_passed": manifest.approved,
        "certificate": verified.certificate_digest,
        "profile": verified.certificate.profile if verified.certificate else None,
        "is_signed": verified.is_signed,
    }
