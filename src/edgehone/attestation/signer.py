"""What a certificate must be to sign with: valid at the time, for signatures, without critical unknowns."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from edgehone.attestation.errors import NotVerified

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SIGN_AGAIN = "sign the bundle again with a valid certificate: edgehone certify BUNDLE --key FILE"


def check_time(certificate: Certificate, time: datetime) -> None:
    """Raise NotVerified unless the certificate is valid at that time."""
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if time > last:
        raise NotVerified(
            f"the certificate of {name_of(certificate)} expired on {last:%Y-%m-%d %H:%M} UTC", hint=SIGN_AGAIN
        )
    if time < first:
        raise NotVerified(
            f"the certificate of {name_of(certificate)} is not valid before {first:%Y-%m-%d %H:%M} UTC; "
            f"the clock says {time:%Y-%m-%d %H:%M}",
            hint="set the clock of this machine",
        )


def check_extensions(certificate: Certificate) -> None:
    """Raise NotVerified if a critical extension is not understood: it may limit what the certificate is for."""
    from cryptography import x509

    try:
        found = [one for one in certificate.extensions if one.critical]
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise NotVerified(
            f"the certificate of {name_of(certificate)} cannot be read: {error}", hint=SIGN_AGAIN
        ) from error
    for one in found:
        if isinstance(one.value, x509.UnrecognizedExtension):
            raise NotVerified(
                f"the certificate of {name_of(certificate)} has the critical extension {one.oid.dotted_string}, which "
                "is not understood",
                hint=SIGN_AGAIN,
            )


def check_usage(certificate: Certificate) -> None:
    """Raise NotVerified unless the certificate is for signatures, as model-signing requires, too."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    extensions = certificate.extensions
    try:
        if extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            return
    except x509.ExtensionNotFound:
        pass
    try:
        purposes = list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        purposes = []
    if ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise NotVerified(
            f"the certificate of {name_of(certificate)} is not for signatures",
            hint="it needs the key usage digitalSignature, or the extended usage codeSigning",
        )


def name_of(certificate: Certificate, *, issuer: bool = False) -> str:
    """Return the name of whom a certificate is of, or of its issuer."""
    return (certificate.issuer if issuer else certificate.subject).rfc4514_string() or "a nameless subject"
