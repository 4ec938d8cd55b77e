"""The signer of an APK: a key and a certificate in PEM files, or the public test key that ships with edgehone.

The test key is no secret: its only purpose is that a package can be installed for a trial without a key of one's own,
with the same bytes on every machine. RSA signatures (PKCS #1 v1.5) and ECDSA by RFC 6979 contain no random number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgehone.attestation.keys import PASSWORD, require_cryptography
from edgehone.core.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate

KEY, CERTIFICATE = "signing_key", "signing_certificate"
_RSA_SHA256, _ECDSA_SHA256 = 0x0103, 0x0201
_LEAST_BITS: Final = 2048
_MAKE: Final = (
    "openssl req -x509 -newkey rsa:3072 -nodes -days 10000 -subj /CN=NAME -keyout apk.key -out apk.crt; "
    "then --set signing_key=apk.key --set signing_certificate=apk.crt"
)


@dataclass(frozen=True)
class Signer:
    """A signer: the private key, its certificate and public key in DER, and the number of the signature algorithm."""

    private: RSAPrivateKey | EllipticCurvePrivateKey
    certificate: bytes
    public: bytes
    algorithm: int
    test: bool

    def sign(self, content: bytes) -> bytes:
        """Return the signature of the content."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(content, padding.PKCS1v15(), hashes.SHA256())
        try:
            return self.private.sign(content, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        except UnsupportedAlgorithm:  # by an OpenSSL older than 3.2: as valid, but other bytes each time
            return self.private.sign(content, ec.ECDSA(hashes.SHA256()))


def signer_of(options: Mapping[str, str]) -> Signer:
    """Return the signer that the options name, else the public test key. Raises InputError for unusable files."""
    require_cryptography()
    named = {name: options[name] for name in (KEY, CERTIFICATE) if name in options}
    if not named:
        here = files("edgehone.package.targets.android").joinpath("test_key")
        return _signer(
            here.joinpath("public_test_key.pem").read_bytes(),
            here.joinpath("certificate.pem").read_bytes(),
            "the test key",
            test=True,
        )
    if missing := {KEY, CERTIFICATE} - set(named):
        raise InputError(
            f"the option {missing.pop()} is missing; key and certificate go together", hint=_MAKE
        )
    key, certificate = (_read(name, path) for name, path in named.items())
    return _signer(key, certificate, f"{named[KEY]} with {named[CERTIFICATE]}", test=False)


def _read(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"the option {option} names {path}: {error.strerror or error}", hint=_MAKE
        ) from error


def _signer(key: bytes, certificate: bytes, what: str, *, test: bool) -> Signer:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    password = os.environ.get(PASSWORD, "").encode() or None
    try:
        private = load_pem_private_key(key, password if b"ENCRYPTED" in key else None)
        found = x509.load_pem_x509_certificate(certificate)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{what} cannot be read: {error}", hint=f"{_MAKE}; the password of a key is read from {PASSWORD}"
        ) from error
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) or _weak(private):
        raise InputError(f"{what}: Android takes RSA keys from 2048 bits on and EC keys", hint=_MAKE)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public != _public(found):
        raise InputError(f"{what}: the certificate is not that of the key", hint=_MAKE)
    algorithm = _RSA_SHA256 if isinstance(private, rsa.RSAPrivateKey) else _ECDSA_SHA256
    return Signer(private, found.public_bytes(Encoding.DER), public, algorithm, test)


def _public(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _weak(private: object) -> bool:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return isinstance(private, rsa.RSAPrivateKey) and private.key_size < _LEAST_BITS
