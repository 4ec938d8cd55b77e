"""Whether a signer's certificate is trusted: by whom it was issued, for what, when it is valid, and not revoked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import VerificationKey, public_bytes
from edgehone.attestation.signer import SIGN_AGAIN, check_extensions, check_time, check_usage, name_of

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList
    from cryptography.x509.verification import ExtensionPolicy


def check_trusted(chain: Sequence[Certificate], key: VerificationKey) -> None:
    """Raise NotVerified unless a chain of certificates, the signer's first, leads to one that `key` trusts.

    Each must be valid at the time of the key, allowed to do what it did, and not revoked. A certificate that takes no
    part in the chain is refused, since nothing vouches for it.
    """
    from cryptography.x509 import verification

    if not key.trusted:
        raise NotVerified(
            f"the bundle was signed with the certificate of {name_of(chain[0])}, and none is trusted",
            hint="give the certificate of its issuer: --certificate-chain FILE",
        )
    for certificate in chain:
        check_time(certificate, key.time)
        check_extensions(certificate)
    check_usage(chain[0])
    if any(one == chain[0] for one in key.trusted):
        path = [chain[0]]
    else:
        policy = (
            verification.PolicyBuilder()
            .store(verification.Store(list(key.trusted)))
            .time(key.time.astimezone(UTC).replace(tzinfo=None))
            .extension_policies(
                ca_policy=_authorities(),
                ee_policy=verification.ExtensionPolicy.permit_all(),
            )
        )
        try:
            path = policy.build_client_verifier().verify(chain[0], list(chain[1:])).chain
        except verification.VerificationError as error:
            raise NotVerified(
                f"the certificate of {name_of(chain[0])}, issued by {name_of(chain[0], issuer=True)}, is not trusted: "
                f"{error}",
                hint="give the certificate of its issuer: --certificate-chain FILE",
            ) from error
    if foreign := [one for one in chain if one not in path]:
        raise NotVerified(
            f"the signature has a certificate of {name_of(foreign[0])} that is not part of its chain",
            hint=SIGN_AGAIN,
        )
    _check_lists(path, key)


def _authorities() -> ExtensionPolicy:
    """Return what the certificate of an issuer must have.

    The rules of the web are stricter: they need extensions that the roots of `openssl req -x509` do not have.
    """
    from cryptography import x509
    from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy

    def is_authority(policy: Policy, certificate: Certificate, found: x509.BasicConstraints) -> None:
        if not found.ca:
            raise ValueError("an issuer is no authority")

    def may_issue(policy: Policy, certificate: Certificate, found: x509.KeyUsage | None) -> None:
        if found is not None and not found.key_cert_sign:
            raise ValueError("an issuer may not sign certificates")

    policy = ExtensionPolicy.permit_all()
    policy = policy.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, is_authority)
    return policy.may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, may_issue)


def check_not_revoked(fingerprint: str, key: VerificationKey) -> None:
    """Raise NotVerified if the key or certificate with that SHA-256 fingerprint is revoked."""
    if fingerprint in key.revoked.fingerprints:
        raise NotVerified(f"the signer's key or certificate SHA256:{fingerprint} is revoked", hint=SIGN_AGAIN)


def _check_lists(path: Sequence[Certificate], key: VerificationKey) -> None:
    """Raise NotVerified if a certificate of the chain is on a list of its issuer, or if a list cannot be relied on."""
    from cryptography.hazmat.primitives.serialization import Encoding

    for certificate in path:
        check_not_revoked(hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(), key)
        check_not_revoked(hashlib.sha256(public_bytes(certificate.public_key())).hexdigest(), key)
    for revoked in key.revoked.lists:
        issuers = [one for one in (*path, *key.trusted) if one.subject == revoked.issuer]
        _check_list(revoked, issuers, key)
        for one in path:
            if one.issuer == revoked.issuer and revoked.get_revoked_certificate_by_serial_number(
                one.serial_number
            ):
                raise NotVerified(
                    f"the certificate of {name_of(one)} is revoked by its issuer", hint=SIGN_AGAIN
                )


def _check_list(
    revoked: CertificateRevocationList, issuers: Sequence[Certificate], key: VerificationKey
) -> None:
    name, hint = revoked.issuer.rfc4514_string(), "get the current revocation list of the signer's issuer"
    if not any(_has_signed(one, revoked) for one in issuers):
        raise NotVerified(f"the revocation list of {name} is not signed by a trusted certificate", hint=hint)
    if revoked.next_update_utc is not None and key.time > revoked.next_update_utc:
        raise NotVerified(
            f"the revocation list of {name} was valid until {revoked.next_update_utc:%Y-%m-%d %H:%M} UTC",
            hint=hint,
        )
    if any(one.critical for one in revoked.extensions):  # of lists of changes, or of some certificates only
        raise NotVerified(f"the revocation list of {name} is not a whole one", hint=hint)


def _has_signed(issuer: Certificate, revoked: CertificateRevocationList) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return revoked.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):  # keys of another kind
        return False
