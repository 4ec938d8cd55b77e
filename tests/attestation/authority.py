"""Certificates and revocation lists for tests: a root, an intermediate and a signer, each spoiled as asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Holder:
    """A certificate and its private key."""

    certificate: x509.Certificate
    private: ec.EllipticCurvePrivateKey

    def write(self, path: Path) -> Path:
        """Write the certificate as PEM."""
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path

    def write_key(self, path: Path) -> Path:
        """Write the private key as PEM."""
        path.write_bytes(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
        return path


def issue(
    name: str,
    by: Holder | None = None,
    *,
    authority: bool = False,
    days: tuple[int, int] = (-10, 10),
    signs: bool = True,
    code_signing: bool = False,
    critical: bool = False,
    length: int | None = None,
) -> Holder:
    """Return a new certificate, by itself if nobody issues it. `days` are those between which it is valid.

    `critical` adds a critical extension that nobody knows, `length` limits the authorities below it.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = by or Holder(None, private)  # type: ignore[arg-type]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=length), critical=True)
        .add_extension(_usage(signs=signs and not authority, authority=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private.public_key()), critical=False
        )
    )
    if critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    if code_signing:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
        )
    return Holder(builder.sign(issuer.private, hashes.SHA256()), private)


def _usage(*, signs: bool, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs, content_commitment=not signs, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=authority, crl_sign=authority, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def revocation_list(
    by: Holder,
    *revoked: Holder,
    name: x509.Name | None = None,
    days: tuple[int, int] = (-1, 1),
    whole: bool = True,
) -> x509.CertificateRevocationList:
    """Return a list that `by` has signed, of certificates that are revoked."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name or by.certificate.subject)
        .last_update(NOW + days[0] * DAY)
        .next_update(NOW + days[1] * DAY)
    )
    if not whole:
        builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
    return builder.sign(by.private, hashes.SHA256())
