"""The keys of certification: a private key signs, public keys or trusted certificates verify.

Keys are elliptic (P-256, P-384 or P-521) and in PEM files. A signer may have an X.509 certificate of its public key:
then those who trust its issuer can verify signatures without the key.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.signer import check_extensions, check_time, check_usage
from edgehone.core.errors import InputError, SetupError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.x509 import Certificate, CertificateRevocationList

PASSWORD = "EDGEHONE_KEY_PASSWORD"
CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MAKE = "openssl ecparam -name prime256v1 -genkey -noout -out signing.key && chmod 600 signing.key"
_MAKE_PUBLIC = "openssl ec -in signing.key -pubout -out signing.pub"
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SigningKey:
    """A private key. `certificates` are the signer's own and those between it and a trusted one; empty without."""

    private: EllipticCurvePrivateKey
    certificates: tuple[Certificate, ...] = ()


@dataclass(frozen=True)
class Revoked:
    """What is no longer trusted: fingerprints of keys and certificates, and lists that authorities have signed."""

    fingerprints: frozenset[str] = frozenset()
    lists: tuple[CertificateRevocationList, ...] = ()


@dataclass(frozen=True)
class Keyless:
    """Whose keyless signatures (`keyless`) are accepted: an identity, as its provider told it.

    Both are an e-mail address or a URL. `config` is a trust configuration of Sigstore as JSON; None is that of the
    public instance.
    """

    identity: str
    provider: str
    config: str | None = None


@dataclass(frozen=True)
class VerificationKey:
    """Whose signatures are accepted: by one of the public keys, or by a certificate that `trusted` ones vouch for.

    Certificates must be valid at the time `at` (None: now). `keyless`: whose keyless signatures are accepted, too.
    """

    public: tuple[EllipticCurvePublicKey, ...] = ()
    trusted: tuple[Certificate, ...] = ()
    revoked: Revoked = Revoked()
    at: datetime | None = None
    keyless: Keyless | None = None

    @property
    def time(self) -> datetime:
        """The time at which certificates must be valid."""
        return self.at or datetime.now(UTC)


def read_signing_key(
    path: str | Path, *, password_file: str | Path | None = None, certificates: Sequence[str | Path] = ()
) -> SigningKey:
    """Return the private key in a PEM file.

    The password of an encrypted key is the first line of `password_file`, else the environment variable
    EDGEHONE_KEY_PASSWORD; there is no prompt. `certificates` are files with the signer's certificate and those that
    lead from it to a trusted one, in this order. Raises InputError for a file that cannot be used, or that others can
    read, and for an invalid certificate.
    """
    require_cryptography()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = read_key_file(path, "the private key", secret=True)
    if b"PRIVATE KEY-----" not in data:
        raise InputError(f"{path} has no private key in PEM format", hint=_MAKE)
    password = _password(password_file) if b"ENCRYPTED" in data else None
    try:
        private = load_pem_private_key(data, password)
    except TypeError:
        raise InputError(
            f"the private key {path} is encrypted, and no password is given",
            hint=f"export {PASSWORD}=…, or name a file with the password",
        ) from None
    except Exception as error:
        wrong = "the password may be wrong" if password is not None else str(error) or type(error).__name__
        raise InputError(f"the private key {path} cannot be read: {wrong}", hint=_MAKE) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name not in CURVES:
        raise InputError(
            f"{path} is {_kind(private)}; keys must be elliptic: {', '.join(CURVES)}", hint=_MAKE
        )
    chain = tuple(one for file in certificates for one in _certificates(file))
    if chain and public_bytes(chain[0].public_key()) != public_bytes(private.public_key()):
        raise InputError(
            f"the first certificate of {certificates[0]} is not that of the private key {path}",
            hint="give the signer's own certificate first, then those of its issuers",
        )
    if chain:
        _check_own(chain)
    return SigningKey(private, chain)


def _check_own(chain: Sequence[Certificate]) -> None:
    """Raise InputError for certificates with which a signature would be refused."""
    try:
        for one in chain:
            check_time(one, datetime.now(UTC))
            check_extensions(one)
        check_usage(chain[0])
    except NotVerified as error:
        raise InputError(error.message, hint="get a valid certificate from its issuer") from error


def read_verification_key(
    files: Sequence[str | Path], *, revoked: Sequence[str | Path] = (), at: datetime | None = None
) -> VerificationKey:
    """Return the public keys and trusted certificates in PEM files.

    `revoked` are revocation lists: a CRL (PEM or DER), or a text file with SHA-256 fingerprints of public keys or
    certificates, one a line. Raises InputError for a file that cannot be used.
    """
    require_cryptography()
    public: list[EllipticCurvePublicKey] = []
    trusted: list[Certificate] = []
    for file in files:
        data = read_key_file(file, "the key", hint=_MAKE_PUBLIC)
        blocks = list(_BLOCK.finditer(data))
        for block in blocks:
            kind = block[1].decode()
            if "PRIVATE" in kind:
                raise InputError(
                    f"{file} holds a private key; verification needs the public one only", hint=_MAKE_PUBLIC
                )
            if kind == "CERTIFICATE":
                trusted.append(_certificate(block[0], file))
            elif kind == "PUBLIC KEY":
                public.append(_public_key(block[0], file))
        if not blocks:
            raise InputError(
                f"{file} has neither a public key nor a certificate in PEM format", hint=_MAKE_PUBLIC
            )
    return VerificationKey(tuple(public), tuple(trusted), _read_revoked(revoked), at)


def fingerprint(public: EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of a public key (DER, SubjectPublicKeyInfo) in hexadecimal."""
    return hashlib.sha256(public_bytes(public)).hexdigest()


def public_bytes(public: object) -> bytes:
    """Return a public key as DER (SubjectPublicKeyInfo)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    encoded: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


def require_cryptography() -> None:
    """Raise SetupError if the package for signatures is missing."""
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError as error:
        raise SetupError(
            "signatures need the package cryptography, which is not installed",
            hint='pip install "edgehone[certify]"',
        ) from error


def _password(file: str | Path | None) -> bytes | None:
    if file is None:
        return os.environ[PASSWORD].encode() if PASSWORD in os.environ else None
    lines = read_key_file(file, "the password of the key", secret=True).splitlines()
    return lines[0] if lines else b""


def read_key_file(path: str | Path, what: str, *, hint: str = _MAKE, secret: bool = False) -> bytes:
    """Return the first MiB of a file. Raises InputError if it cannot be read, or others can read what is secret."""
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(1 << 20)
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error.strerror or error}", hint=hint) from error
    if secret and stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(
            f"{what} {path} can be read by others (mode {stat.S_IMODE(mode):o})", hint=f"chmod 600 {path}"
        )
    return data


def _kind(key: object) -> str:
    curve = getattr(key, "curve", None)
    return f"a key of the curve {curve.name}" if curve else f"a key of another kind ({type(key).__name__})"


def _public_key(data: bytes, file: str | Path) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(data)
    except Exception as error:
        raise InputError(f"the public key {file} cannot be read: {error}", hint=_MAKE_PUBLIC) from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name not in CURVES:
        raise InputError(f"{file} is {_kind(public)}; keys must be elliptic: {', '.join(CURVES)}", hint=_MAKE)
    return public


def _certificates(file: str | Path) -> Iterator[Certificate]:
    blocks = [
        block[0]
        for block in _BLOCK.finditer(read_key_file(file, "the certificate"))
        if block[1] == b"CERTIFICATE"
    ]
    if not blocks:
        raise InputError(f"{file} has no certificate in PEM format", hint="give the signer's certificate")
    yield from (_certificate(block, file) for block in blocks)


def _certificate(data: bytes, file: str | Path) -> Certificate:
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(data)
    except ValueError as error:
        raise InputError(
            f"the certificate {file} cannot be read: {error}", hint="export it as PEM"
        ) from error


def _read_revoked(files: Sequence[str | Path]) -> Revoked:
    fingerprints: set[str] = set()
    lists: list[CertificateRevocationList] = []
    for file in files:
        data = read_key_file(file, "the revocation list")
        if b"-----BEGIN X509 CRL-----" in data or re.match(rb"\x30[\x81-\x84]", data):  # DER: a long sequence
            lists.append(_crl(data, file))
        else:
            fingerprints.update(_fingerprints(data, file))
    return Revoked(frozenset(fingerprints), tuple(lists))


def _crl(data: bytes, file: str | Path) -> CertificateRevocationList:
    from cryptography.x509 import load_der_x509_crl, load_pem_x509_crl

    try:
        return load_pem_x509_crl(data) if data.startswith(b"-") else load_der_x509_crl(data)
    except ValueError as error:
        raise InputError(
            f"the revocation list {file} cannot be read: {error}", hint="export it as PEM"
        ) from error


def _fingerprints(data: bytes, file: str | Path) -> Iterator[str]:
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        words = line.partition("#")[0].strip()
        plain = words.lower().removeprefix("sha256:").replace(":", "")
        if not words:
            continue
        if not _FINGERPRINT.fullmatch(plain):
            raise InputError(
                f"{file}, line {number}: {words[:80]!r} is no SHA-256 fingerprint",
                hint="openssl pkey -pubin -in signing.pub -outform DER | sha256sum",
            )
        yield plain
