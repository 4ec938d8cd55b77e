"""Whether a signer's certificate is trusted: by whom it was issued, for what, when it is valid, and not revoked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.keys import VerificationKey, public_bytes

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

_HINT = "sign the bundle again with a valid certificate: edgehone certify BUNDLE --key FILE"


def check_trusted(chain: Sequence[Certificate], key: VerificationKey) -> None:
    """Raise NotVerified unless a chain of certificates, the signer's first, leads to one that `key` trusts.

    Each must be valid at the time of the key, allowed to do what it did, and not revoked. A certificate that takes no
    part in the chain is refused, since nothing vouches for it.
    """
    from cryptography.x509 import verification

    if not key.trusted:
        raise NotVerified(
            f"the bundle was signed with the certificate of {_name(chain[0])}, and none is trusted",
            hint="give the certificate of its issuer: --certificate-chain FILE",
        )
    for certificate in chain:
        _check_time(certificate, key)
    _check_usage(chain[0])
    if any(one == chain[0] for one in key.trusted):
        path = [chain[0]]
    else:
        policy = (
            verification.PolicyBuilder()
            .store(verification.Store(list(key.trusted)))
            .time(key.time.astimezone(UTC).replace(tzinfo=None))
            .extension_policies(
                ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
                ee_policy=verification.ExtensionPolicy.permit_all(),
            )
        )
        try:
            path = policy.build_client_verifier().verify(chain[0], list(chain[1:])).chain
        except verification.VerificationError as error:
            raise NotVerified(
                f"the certificate of {_name(chain[0])}, issued by {_name(chain[0], issuer=True)}, is not trusted: "
                f"{error}",
                hint="give the certificate of its issuer: --certificate-chain FILE",
            ) from error
    if foreign := [one for one in chain if one not in path]:
        raise NotVerified(
            f"the signature has a certificate of {_name(foreign[0])} that is not part of its chain",
            hint=_HINT,
        )
    _check_lists(path, key)


def check_not_revoked(fingerprint: str, key: VerificationKey) -> None:
    """Raise NotVerified if the key or certificate with that SHA-256 fingerprint is revoked."""
    if fingerprint in key.revoked.fingerprints:
        raise NotVerified(f"the signer's key or certificate SHA256:{fingerprint} is revoked", hint=_HINT)


def _check_time(certificate: Certificate, key: VerificationKey) -> None:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if key.time > last:
        raise NotVerified(
            f"the certificate of {_name(certificate)} expired on {last:%Y-%m-%d %H:%M} UTC", hint=_HINT
        )
    if key.time < first:
        raise NotVerified(
            f"the certificate of {_name(certificate)} is not valid before {first:%Y-%m-%d %H:%M} UTC; "
            f"the clock says {key.time:%Y-%m-%d %H:%M}",
            hint="set the clock of this machine",
        )


def _check_usage(certificate: Certificate) -> None:
    """Raise NotVerified unless the certificate is for signatures, as model-signing requires, too."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        if certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            return
    except x509.ExtensionNotFound:
        pass
    try:
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        extended = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    if ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        raise NotVerified(
            f"the certificate of {_name(certificate)} is not for signatures",
            hint="it needs the key usage digitalSignature, or the extended usage codeSigning",
        )


def _check_lists(path: Sequence[Certificate], key: VerificationKey) -> None:
    """Raise NotVerified if a certificate of the chain is on a list of its issuer, or if a list cannot be relied on."""
    from cryptography.hazmat.primitives.serialization import Encoding

    for certificate in path:
        check_not_revoked(hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(), key)
        check_not_revoked(hashlib.sha256(public_bytes(certificate.public_key())).hexdigest(), key)
    for revoked in key.revoked.lists:
        issuer = next((one for one in (*path, *key.trusted) if one.subject == revoked.issuer), None)
        _check_list(revoked, issuer, key)
        for certificate in path:
            if certificate.issuer == revoked.issuer and revoked.get_revoked_certificate_by_serial_number(
                certificate.serial_number
            ):
                raise NotVerified(
                    f"the certificate of {_name(certificate)} is revoked by its issuer", hint=_HINT
                )


def _check_list(revoked: CertificateRevocationList, issuer: Certificate | None, key: VerificationKey) -> None:
    name, hint = revoked.issuer.rfc4514_string(), "get the current revocation list of the signer's issuer"
    if issuer is None or not revoked.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]
        raise NotVerified(f"the revocation list of {name} is not signed by a trusted certificate", hint=hint)
    if revoked.next_update_utc is not None and key.time > revoked.next_update_utc:
        raise NotVerified(
            f"the revocation list of {name} was valid until {revoked.next_update_utc:%Y-%m-%d %H:%M} UTC",
            hint=hint,
        )


def _name(certificate: Certificate, *, issuer: bool = False) -> str:
    return (certificate.issuer if issuer else certificate.subject).rfc4514_string() or "a nameless subject"
